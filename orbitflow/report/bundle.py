"""The JavaScript that draws: Vega, Vega-Lite and Vega-Embed, in one piece, out of vl-convert."""

from __future__ import annotations

from functools import cache

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def javascript() -> str:
    """A script that defines `vegaEmbed`, safe inside a script element."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(_SNIPPET)
    return bundle.replace("</script", "<\\/script")
