"""Templates: what they make of variables, and that no template reaches out or grows."""

import pytest

from relay.templates import BadTemplate, Source, Template
from relay.templates.render import MAX_BODY, check_variables


def made(html: str, **variables: object) -> str:
    check_variables(variables)
    return Template(Source("s", html=html)).render(variables).html or ""


@pytest.mark.parametrize(
    ("html", "variables", "expected"),
    [
        ("<p>{{ name }}</p>", {"name": "<b>&\"'"}, "<p>&lt;b&gt;&amp;&#34;&#39;</p>"),
        ("{{ name | upper }}", {"name": "<b>"}, "&lt;B&gt;"),
        ("{{ name | safe }}", {"name": "<b>"}, "<b>"),
        ("{{ name | default('you') }}", {}, "you"),
        ("{% if name is defined %}{{ name }}{% else %}nobody{% endif %}", {}, "nobody"),
        ("{% for one in xs %}{{ loop.index }}{{ one.a }}{% if not loop.last %},{% endif %}{% endfor %}",
         {"xs": [{"a": "<"}, {"a": 2}]}, "1&lt;,22"),
        ("{% for one in xs if one > 1 %}{{ one }}{% else %}none{% endfor %}", {"xs": [1]}, "none"),
        ("{{ a.b.c }} {{ a['b']['c'] }} {{ xs[0] }} {{ xs[-1] }}", {"a": {"b": {"c": 5}}, "xs": [1, 2]}, "5 5 1 2"),
        ("{{ 1 + 2 * 3 - 4 // 3 }} {{ -x }}", {"x": 2}, "6 -2"),
        ("{{ a ~ '<' ~ 1 }}", {"a": "&"}, "&amp;&lt;1"),
        ("{% set total = x * 2 %}{{ total | round(1) }}", {"x": 1.26}, "2.5"),
        ("{{ xs | join(', ') }} {{ xs | length }} {{ xs | first }}", {"xs": ["<", 2]}, "&lt;, 2 2 &lt;"),
        ("{{ x }}|{{ y }}", {"x": None, "y": True}, "|True"),
        ("{{ 'x y/é' | urlencode }}", {}, "x%20y/%C3%A9"),
        ("{% raw %}{{ name }}{% endraw %}", {}, "{{ name }}"),
    ],
)  # fmt: skip
def test_values_come_out_where_they_are_named(html: str, variables: dict[str, object], expected: str) -> None:
    assert made(html, **variables) == expected


def test_each_place_is_escaped_for_what_it_is() -> None:
    template = Template(Source("For {{ name }}", html="<p>{{ name }}</p>", text="Dear {{ name }}"))
    mail = template.render({"name": "<Ada>\r\nBcc: eve@x.example\u2028\x00"})
    assert mail.subject == "For <Ada> Bcc: eve@x.example"
    assert mail.html == "<p>&lt;Ada&gt;\r\nBcc: eve@x.example\u2028\x00</p>"
    assert mail.text == "Dear <Ada>\r\nBcc: eve@x.example\u2028\x00"


def test_what_a_template_needs_is_known_before_it_is_used() -> None:
    template = Template(
        Source(
            "{{ a }}",
            html="{% set b = c %}{{ b }}{% for d in e %}{{ d.f }}{{ loop.index }}{% endfor %}{{ g | d(1) }}",
        )
    )
    assert template.needed == {"a", "c", "e"}
    assert template.asked == {"a", "c", "e", "g"}


REACHING = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ x.__init__.__globals__ }}",
    "{{ x|attr('__class__') }}",
    "{{ x.upper }}",
    "{{ x.upper() }}",
    "{{ x.format(x) }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner }}",
    "{{ lipsum() }}",
    "{{ namespace(a=1) }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{{ _purse }}",
    "{{ loop.__class__ }}",
    "{% for a in xs %}{{ loop.__class__ }}{% endfor %}",
    "{% for a in xs %}{{ loop._iterable }}{% endfor %}",
    "{% for a in xs %}{{ loop.cycle('a') }}{% endfor %}",
    "{% for _purse in xs %}{% endfor %}",
    "{% set loop = 1 %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% call f() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x %}y{% endset %}",
    "{% with a = 1 %}{% endwith %}",
    "{% autoescape false %}{{ x }}{% endautoescape %}",
    "{% do x %}",
    "{{ {'a': 1} }}",
    "{{ x[0:1] }}",
    "{{ xs }}",
    "{{ x }",
    "{{ x | nothing }}",
    "{{ x is nothing }}",
    "{{ [x, x] }}",
    "{{ rounds }}{{ x | rounds! }}",
]


@pytest.mark.parametrize("html", REACHING)
def test_nothing_but_the_variables_can_be_reached(html: str) -> None:
    with pytest.raises(BadTemplate) as told:
        made(html, x="a", xs=[1])
    assert "object at 0x" not in told.value.message


GROWING = [
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 1000000000 }}",
    "{{ x + x }}",
    "{{ [1] * 1000000000 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ 'x' | center(1000000000) }}",
    "{{ 'x' | indent(1000000000) }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ 999999999999 * 999999999999 }}",
    "{{ 9999999999999999999 }}",
    "{{ 1.5 | round(1000000000) }}",
    "{% for a in range(1000000000) %}x{% endfor %}",
    "{% for a in xs %}" * 4 + "x" + "{% endfor %}" * 4,
    "{% for a in xs %}{% for b in xs %}{{ x }}{% endfor %}{% endfor %}",
    "{% for a in xs recursive %}{{ loop(xs) }}{% endfor %}",
    "{% for a in x %}x{% endfor %}",
    "{% set y = x ~ x %}" + "{% set y = y ~ y %}" * 60 + "{{ y }}",
    "{% set y = [x, x] %}" + "{% set y = [y, y] %}" * 60 + "{{ y }}",
    "{{ x" + " ~ x" * 5_000 + " }}",
    "{{ x" + " | upper" * 3_000 + " }}",
    "{{ x" + " | urlencode" * 50 + " }}",
    "{{ 1" + " + 1" * 3_000 + " }}",
    "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "{{ " + "-" * 5_000 + "1 }}",
    "{% if x %}" * 300 + "{% endif %}" * 300,
    "{% if " + "not " * 5_000 + "x %}{% endif %}",
    "{{ x }}" * 50_000,
    "{{" * 120_000,
    "{#" * 120_000,
    "{% raw %}" * 20_000,
    "x" * (256 * 1024 + 1),
    "{% for a in xs %}" + ("{% if " + "+".join(["a"] * 25) + " < 0 %}{% endif %}") * 50 + "{% endfor %}",
    "{% for a in xs %}" + "{% if x is lower %}{% endif %}" * 20 + "{% endfor %}",
    "{% for a in xs %}" + "{% if x == xs or x in xs %}{% endif %}" * 4 + "{% endfor %}",
    "{% for a in xs %}{{ x | striptags | truncate(3) }}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("html", GROWING, ids=[text[:40] for text in GROWING])
@pytest.mark.timeout(20)
def test_no_template_grows_beyond_its_budget(html: str) -> None:
    with pytest.raises(BadTemplate):
        made(html, x="%" * 60_000, xs=list(range(1000)))


def test_a_body_has_an_end() -> None:
    with pytest.raises(BadTemplate, match=str(MAX_BODY)):
        made("{{ x }}" * 20, x="a" * 60_000)


@pytest.mark.parametrize(
    "variables",
    [
        {"x": "a" * 70_000},
        {"x": "a\0b"},
        {"x": [[[[[[[[[[[[1]]]]]]]]]]]]},
        {"x": list(range(6_000))},
        {"__class__": 1},
        {"loop": 1},
        {"a b": 1},
        {f"v{n}": 1 for n in range(201)},
    ],
)
def test_variables_have_bounds(variables: dict[str, object]) -> None:
    with pytest.raises(BadTemplate):
        check_variables(variables)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source("{{ name }", text="x"), "subject: line 1: "),
        (Source("s", html="a\n{% if %}"), "html: line 2: "),
        (Source("s"), '"html" and "text"'),
    ],
)
def test_what_is_wrong_is_said_with_its_place(source: Source, words: str) -> None:
    with pytest.raises(BadTemplate, match=words):
        Template(source)


@pytest.mark.parametrize(
    ("subject", "text", "words"),
    [
        ("s", "{{ nobody }}", "text: there is no variable nobody"),
        ("s", "{{ x.nobody }}", "text: there is no variable nobody"),
        ("{{ y }}", "x", "subject: is empty"),
        ("s", "{{ y }}", "the mail is empty"),
        ("s", "{{ 1 / 0 }}", "text: divides by zero"),
        ("s", "{{ 1 < x }}", "text: the template does not suit these variables"),
        ("{{ 'a' ~ z }}", "x", "subject: is longer"),
    ],
)
def test_what_cannot_be_made_is_said_plainly(subject: str, text: str, words: str) -> None:
    with pytest.raises(BadTemplate, match=words):
        Template(Source(subject, text=text)).render({"x": "text", "y": " \n", "z": "b" * 3_000})
