"""HTML of all kinds, edited in place: what is replaced, and that nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tracking import html

PIXEL = "<PIXEL>"


def edited(text: str, pixel: str | None = None, *, breaks: bool = False) -> str:
    def link(written: str) -> str | None:
        target = html.target_of(written)
        return f"[{target}]" if target is not None else None

    return html.applied(text, html.edits(text, link, pixel, breaks=breaks))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="http://x.example/">', '<a href="[http://x.example/]">'),
        ("<a href='https://x.example/?a=1&amp;b=2'>", "<a href='[https://x.example/?a=1&b=2]'>"),
        ("<A class=b HREF=https://x.example/a/>", "<A class=b HREF=[https://x.example/a/]>"),
        ('<a\n\thref = "http://x.example"\n>', '<a\n\thref = "[http://x.example]"\n>'),
        ('<a href="  http://x.example/\n">', '<a href="[http://x.example/]">'),
        ('<a title=">" href="http://x.example">', '<a title=">" href="[http://x.example]">'),
        ('<a href="http&#58;//x.example">', '<a href="[http://x.example]">'),
        ('<area shape=rect href="http://x.example">', '<area shape=rect href="[http://x.example]">'),
        (
            '<a href="http://x.example" href="http://y.example">',
            '<a href="[http://x.example]" href="http://y.example">',
        ),
        (
            '<a href="http://bücher.example/ü?q=ö">',
            '<a href="[http://xn--bcher-kva.example/%C3%BC?q=%C3%B6]">',
        ),
        ('<a href="http://x.example/%7Ea?x=%20">', '<a href="[http://x.example/%7Ea?x=%20]">'),
        ('<a href="http://x.example"title="y">', '<a href="[http://x.example]"title="y">'),
    ],
)
def test_links_are_replaced_where_they_stand(before, after):
    assert edited(f"<p>{before}x</a></p>") == f"<p>{after}x</a></p>"


@pytest.mark.parametrize(
    "text",
    [
        '<a href="mailto:a@b.example">',
        '<a href="tel:+15550100">',
        '<a href="cid:part1">',
        '<a href="#top">',
        '<a href="/relative">',
        '<a href="//x.example/">',
        '<a href="javascript:alert(1)">',
        '<a href="data:text/html,http://x.example">',
        '<a href="ftp://x.example/">',
        '<a href="{{url}}">',
        '<a href="">',
        "<a href>",
        '<a name="http://x.example">',
        '<a data-href="http://x.example">',
        '<a data-pb-no-track href="http://x.example">',
        '<a href="http://x.example" DATA-PB-NO-TRACK="">',
        '<link href="http://x.example/a.css">',
        '<img src="http://x.example/a.png">',
        '<base href="http://x.example/">',
        '<!-- <a href="http://x.example"> -->',
        '<!--[if mso]><a href="http://x.example"><![endif]-->',
        '<!--><a href="mailto:x">',
        '<style>a:after{content:"<a href=http://x.example>"}</style>',
        "<script>document.write('<a href=\"http://x.example\">')</script>",
        '<textarea><a href="http://x.example"></textarea>',
        '<a href="http://x.example',
        '<a href="http://x.example" <p>',
        '< a href="http://x.example">',
        '</a href="http://x.example">',
        '<a href="http://x.example/a b">',
        '<a href="http://x.example\\@evil.example">',
        '<a href="http://">',
        '<a href="http:///x">',
        '<a href="http://[::1">',
        f'<a href="http://x.example/{"x" * 2000}">',
        '<a href="http://ex&#10;ample.org/">',
        "http://x.example in plain words",
    ],
)
def test_what_is_no_link_or_broken_is_left_alone(text):
    assert edited(text) == text


def test_links_after_what_is_broken_are_still_found():
    text = '<a href="http://x.example" <p><a href="http://y.example">y</a>'
    assert edited(text).endswith('<a href="[http://y.example]">y</a>')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<html><body>x</body></html>", "<html><body>x<PIXEL></body></html>"),
        ("<body>x</BODY >\r\n</html>", "<body>x<PIXEL></BODY >\r\n</html>"),
        ("<p>x</p></html>", "<p>x</p><PIXEL></html>"),
        ("<p>x</p>", "<p>x</p>\r\n<PIXEL>"),
        ("<p>x</p>\r\n", "<p>x</p>\r\n<PIXEL>\r\n"),
        ("<body>a</body><body>b</body>", "<body>a</body><body>b<PIXEL></body>"),
        ("<body>x<!-- </body> --></body>", "<body>x<!-- </body> --><PIXEL></body>"),
        ('<body><p title="</body>">x</body>', '<body><p title="</body>">x<PIXEL></body>'),
        ("", "\r\n<PIXEL>"),
    ],
)
def test_the_pixel_goes_to_the_end_of_the_body(before, after):
    assert edited(before, PIXEL) == after


def test_long_lines_are_broken_before_links():
    assert (
        edited('<a class=x href="http://x.example">', breaks=True)
        == '<a class=x \r\nhref="[http://x.example]">'
    )


TAGS = st.sampled_from(
    [
        "<a ",
        "<a href=",
        '"',
        "'",
        ">",
        "<",
        "=",
        "/",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "http://x.example/",
    ]
)
MORE = st.sampled_from(
    ["</body>", "&amp;", " ", "\r\n", "text", "ü", "<area\thref='https://y.example'>", "data-pb-no-track "]
)


@given(st.lists(st.one_of(TAGS, MORE, st.text(max_size=5)), max_size=60).map("".join))
def test_all_but_the_targets_stays_and_editing_again_finds_the_same(text):
    found = html.edits(text, lambda _: "LINK", None)
    last = 0
    for start, end, replacement in found:
        assert last <= start <= end <= len(text)
        assert replacement == "LINK"
        last = end
    kept = html.applied(text, [(start, end, text[start:end]) for start, end, _ in found])
    assert kept == text
    with_pixel = html.applied(text, html.edits(text, lambda _: None, PIXEL))
    assert with_pixel.replace(PIXEL, "").replace("\r\n", "") == text.replace("\r\n", "").replace(PIXEL, "")


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        '<a x="',
        "<!--",
        "<a<",
        "<a x='\"",
        "<script>",
        "</a",
        "<a b=c ",
        "<a/",
        '<a href="http://x" ',
        "<a =",
        "<",
    ],
)
def test_hostile_html_is_read_in_one_go(piece):
    """Where something were tried again for every character, this would not end within the test's time."""
    text = piece * (1_000_000 // len(piece))
    assert (
        html.applied(text, html.edits(text, lambda _: None, PIXEL)).replace(PIXEL, "").strip() == text.strip()
    )
