"""Equations as MathML, which browsers draw themselves: the site loads no script and no font for them.

``pymdownx.arithmatex`` finds the equations of a page (``$x$`` and ``$$x$$``) and marks them; here the marked LaTeX is
replaced by MathML while the page is built.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

MARKED = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Called by mkdocs for the HTML of every page."""
    return MARKED.sub(lambda found: equation(found.group(1), found.group(2)), content)


def equation(tag: str, marked: str) -> str:
    """MathML of one marked equation, ``\\(x\\)`` in a line (span) or ``\\[x\\]`` on its own (div)."""
    latex = html.unescape(marked.strip()[2:-2]).strip()
    return f'<{tag} class="equation">{convert(latex, display="inline" if tag == "span" else "block")}</{tag}>'
