"""Small pieces of Markdown that the generated parts are made of."""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(str(c).split()).replace("|", "\\|") for c in line) + " |" for line in lines
    )


def code(text: str) -> str:
    """Docstring text as Markdown."""
    return text.replace("``", "`")
