"""What a reader sees and does on the page in a real browser."""

import shutil
from dataclasses import replace

import pytest
from page_factory import HOSTILE, write
from record_factory import PAPER, record

from maml_bench.record import Curve


@pytest.fixture(scope="module")
def browser():
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def page(browser, tmp_path):
    """Open the page of four records, of which one failed for a hostile reason, and check the console at the end."""
    curve = Curve([0, 500, 1500], [0.0, 10.0, 30.0], [None, 1.0, 0.5], [0.2, 0.8, 0.9], [0.01, 0.01, 0.01], 3, 100)
    _, path = write(
        tmp_path,
        record((0.5, 0.7), setup="maml", seed=0, curve=curve, published=[PAPER]),
        record((0.9, 0.7), setup="anil", seed=1, curve=curve),
        record((0.1, 0.3), setup="anil", seed=2, curve=curve, device="cuda:0"),
        record(setup="maml", seed=3, status="failed", reason=HOSTILE, evaluations=[]),
    )
    browser.get(path.as_uri())
    wait_for(browser, "tbody tr td")
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def wait_for(browser, selector, text=""):
    """The first element of the selector with this text. The page may draw it anew between finding and reading it."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    def there(driver):
        return [e for e in driver.find_elements("css selector", selector) if text in e.text]

    return WebDriverWait(browser, 30, ignored_exceptions=[StaleElementReferenceException]).until(there)[0]


def column(browser, title) -> list[str]:
    heads = [head.text for head in browser.find_elements("css selector", "thead th")]
    rows = browser.find_elements("css selector", "tbody tr")
    return [row.find_elements("css selector", "td")[heads.index(title)].text for row in rows]


def test_a_reader_sorts_by_score(page):
    assert sorted(column(page, "score ± 95 %")) == ["20 ± 14", "60 ± 14", "80 ± 14", "no score"]
    head = wait_for(page, "thead th", "score")
    head.click()
    assert [score for score in column(page, "score ± 95 %") if score != "no score"] == ["20 ± 14", "60 ± 14", "80 ± 14"]
    head.click()
    assert [score for score in column(page, "score ± 95 %") if score != "no score"] == ["80 ± 14", "60 ± 14", "20 ± 14"]


def test_a_reader_filters_and_searches(page):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("css selector", "[data-filter=setup]")).select_by_value("anil")
    assert column(page, "setup") == ["anil", "anil"]
    Select(page.find_element("css selector", "[data-filter=device]")).select_by_value("cuda:0")
    assert column(page, "seed") == ["2"]
    Select(page.find_element("css selector", "[data-filter=setup]")).select_by_value("")
    Select(page.find_element("css selector", "[data-filter=device]")).select_by_value("")
    page.find_element("css selector", "input[type=search]").send_keys("failed")
    assert column(page, "seed") == ["3"]


def test_a_reader_opens_the_record_of_a_score_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    wait_for(page, "tbody a", "60").send_keys(Keys.ENTER)
    assert wait_for(page, "h1", "omniglot-5w1s, maml, seed 0")
    origin = page.find_element("css selector", "dl").text
    assert "records/omniglot/maml/omniglot-5w1s-quick-" in origin
    assert (
        page.find_element("css selector", "figure svg[role=img]")
        .get_attribute("aria-label")
        .startswith("Learning curve")
    )
    assert page.switch_to.active_element.tag_name == "main"
    page.back()
    assert wait_for(page, "h1", "All results")


def test_the_page_of_a_recipe_keeps_devices_apart(page):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", "recipes")).select_by_visible_text("omniglot-5w1s")
    assert wait_for(page, "h1", "omniglot-5w1s")
    captions = [caption.text for caption in page.find_elements("css selector", "figcaption")]
    assert captions == [
        "Learning curves",
        "Score against training time (cpu, machine m1)",
        "Score against training time (cuda:0, machine m1)",
    ]


def test_hostile_text_is_shown_as_text(page):
    page.get(page.current_url.split("#")[0] + "#/record/3")
    assert wait_for(page, "h1", "seed 3")
    assert f"failed: {HOSTILE}" in [each.text for each in page.find_elements("css selector", "dd")]
    assert page.find_elements("css selector", "dd b") == []
    assert "broken" not in page.title


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def tab_to(page, there) -> None:
    """Press the tabulator until the focused element is ``there``. Each one on the way must show that it is focused."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(60):
        press(page, Keys.TAB)
        focused = page.switch_to.active_element
        assert page.execute_script("return getComputedStyle(arguments[0]).outlineWidth", focused) == "3px"
        if there(focused):
            return
    raise AssertionError("the tabulator does not reach it")


def test_a_reader_sorts_filters_opens_and_goes_back_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    tab_to(page, lambda e: e.get_attribute("data-filter") == "setup")
    press(page, "anil")
    assert column(page, "setup") == ["anil", "anil"]
    tab_to(page, lambda e: e.get_attribute("aria-label") == "score ± 95 %: Activate to sort")
    press(page, Keys.ENTER)
    assert column(page, "score ± 95 %") == ["20 ± 14", "80 ± 14"]
    tab_to(page, lambda e: (e.get_attribute("aria-label") or "").startswith("20 ± 14: the record of"))
    press(page, Keys.ENTER)
    assert wait_for(page, "h1", "omniglot-5w1s, anil, seed 2")
    page.back()
    assert wait_for(page, "h1", "All results")
    assert wait_for(page, "tbody td", "anil")
    assert column(page, "setup") == ["anil", "anil"], "the table is as it was left"
    assert page.find_element("css selector", "[data-filter=setup]").get_attribute("value") == "anil"


def test_the_list_of_recipes_keeps_the_focus_while_the_keyboard_walks_through_it(page):
    from selenium.webdriver.common.keys import Keys

    tab_to(page, lambda e: e.get_attribute("id") == "recipes")
    press(page, Keys.ARROW_DOWN)
    assert wait_for(page, "h1", "omniglot-5w1s")
    assert page.switch_to.active_element.get_attribute("id") == "recipes"


UNREADABLE = """
const numbers = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
const mix = (top, below, a) => top * a + below * (1 - a);
const over = (top, below) => Object.fromEntries(["r", "g", "b"].map((k) => [k, mix(top[k], below[k], top.a)]));
const background = (e) => {
  const own = e ? numbers(getComputedStyle(e).backgroundColor) : { r: 255, g: 255, b: 255, a: 1 };
  return own.a === 1 ? own : { ...over(own, background(e.parentElement)), a: 1 };
};
const bright = ({ r, g, b }) => [[0.2126, r], [0.7152, g], [0.0722, b]].reduce((sum, [share, level]) => {
  const c = level / 255; return sum + share * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
}, 0);
const found = [];
for (const e of document.body.querySelectorAll("*")) {
  const text = [...e.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
  if (!text.length || !e.getClientRects().length || e.closest("script, style, svg, option, .disabled")) continue;
  const paper = background(e), ink = over(numbers(getComputedStyle(e).color), paper);
  const [low, high] = [bright(ink), bright(paper)].sort((one, other) => one - other);
  if ((high + 0.05) / (low + 0.05) < 4.5) found.push(`${e.tagName} ${e.textContent.slice(0, 30)}`);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("at", ["", "#/recipe/omniglot-5w1s", "#/record/0"])
def test_all_text_of_a_page_can_be_read(page, scheme, at):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.get(page.current_url.split("#")[0] + at)
    page.refresh()
    wait_for(page, "tbody tr td")
    assert page.execute_script(UNREADABLE) == []


def test_every_field_has_a_name_and_every_picture_a_description(page):
    page.get(page.current_url.split("#")[0] + "#/recipe/omniglot-5w1s")
    wait_for(page, "figcaption", "Learning curves")
    for field in page.find_elements("css selector", "select, input, [tabindex='0'], a, summary, svg[role=img]"):
        assert field.accessible_name or not field.is_displayed(), field.get_attribute("outerHTML")[:200]


def test_an_unknown_page_says_so(page):
    page.get(page.current_url.split("#")[0] + "#/record/99")
    assert wait_for(page, "h1", "There is no such page")


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 28)")])
def test_the_page_follows_the_colour_scheme_and_fits_a_phone(page, scheme, paper):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    page.refresh()
    wait_for(page, "tbody tr td")
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == paper
    base = page.current_url.split("#")[0]
    for at in ("", "#/recipe/omniglot-5w1s", "#/record/0"):
        page.get(base + at)
        page.refresh()
        wait_for(page, "tbody tr td")
        page.execute_script("document.querySelector('select').append(new Option('long name '.repeat(20)))")
        for choice in page.find_elements("css selector", "[data-filter]"):
            page.execute_script("arguments[0].append(new Option('long name '.repeat(20)))", choice)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        heights = page.execute_script(
            "return [...document.querySelectorAll('svg text')].map((text) => text.getBBox().height * "
            "text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width)"
        )
        assert min(heights, default=99) > 12, "the text of a chart is as large as on a wide screen"
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_superseded_record_is_marked_in_the_table_and_not_drawn(browser, tmp_path):
    curve = Curve([0, 500], [0.0, 10.0], [None, 1.0], [0.2, 0.8], [0.01, 0.01], 3, 100)
    old = replace(record((0.1, 0.3), setup="anil", seed=1, curve=curve), superseded="another way to count episodes")
    _, path = write(tmp_path, record((0.5, 0.7), setup="maml", seed=0, curve=curve), old)
    browser.get(path.as_uri())
    wait_for(browser, "tbody tr td")
    assert sorted(column(browser, "status")) == ["ok", "superseded"]
    browser.get(path.as_uri() + "#/recipe/omniglot-5w1s")
    wait_for(browser, "figcaption", "Learning curves")
    legends = [figure.text for figure in browser.find_elements("css selector", "figure")]
    assert legends
    assert all("anil" not in text for text in legends)
    browser.get(path.as_uri() + "#/record/1")
    assert wait_for(browser, "dd", "another way to count episodes")
