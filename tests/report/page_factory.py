"""The page of given records, and text that would change a page if it became markup."""

from maml_bench.report.page import write_page

HOSTILE = "</script><script>document.title = 'broken'</script><b>bold</b> & <!--"


def write(tmp_path, *records):
    """Save the records and write their page; return the saved pairs and the file of the page."""
    pairs = [(each.save(tmp_path), each) for each in records]
    return pairs, write_page(pairs, tmp_path)
