"""Mail from templates: Jinja2's notation, of which only what can neither reach anything nor grow without bound."""

from relay.templates.grammar import BadTemplate
from relay.templates.render import Rendered, Source, Template, fill, load

__all__ = ["BadTemplate", "Rendered", "Source", "Template", "fill", "load"]
