"""The simulated Dexcom login: two HTML pages that work without script; no state."""

from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1d2a24; background: #eef3f0; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; }
main { background: #fff; width: min(25rem, calc(100vw - 2rem)); box-sizing: border-box; padding: 2rem;
  border-radius: 14px; box-shadow: 0 1px 3px #0002, 0 12px 32px #0001; }
.badge { display: inline-block; font-size: .8rem; font-weight: 600; color: #5b4300; background: #ffeebf;
  padding: .1rem .6rem; border-radius: 99px; }
h1 { font-size: 1.35rem; line-height: 1.25; margin: .8rem 0 .4rem; }
p { margin: 0 0 1rem; color: #4b5a52; overflow-wrap: anywhere; }
fieldset { border: 0; padding: 0; margin: 0 0 1.4rem; }
legend { font-weight: 600; padding: 0; margin-bottom: .5rem; }
label { display: flex; gap: .7rem; align-items: center; padding: .65rem .8rem; margin-bottom: .5rem;
  border: 1px solid #cfdad4; border-radius: 10px; cursor: pointer; }
label:has(:checked) { border-color: #1f7a4d; background: #eefaf3; }
label span { color: #4b5a52; font-size: .9rem; }
input { accent-color: #1f7a4d; width: 1.1rem; height: 1.1rem; margin: 0; flex: none; }
.buttons { display: flex; gap: .7rem; }
button { flex: 1; font: inherit; font-weight: 600; padding: .7rem; border-radius: 10px; cursor: pointer;
  border: 1px solid #1f7a4d; background: #1f7a4d; color: #fff; }
button[value=deny] { background: #fff; color: #1f5c3d; }
:focus-visible { outline: 3px solid #1f7a4d66; outline-offset: 2px; }
"""


def login_page(users: Sequence[tuple[str, str]], fields: Mapping[str, str]) -> str:
    """Users (name, label) to choose from, the first one chosen; `fields` travel along hidden."""
    choices = "\n".join(
        f'<label><input type="radio" name="username" value="{escape(name)}"{" checked" if i == 0 else ""}>'
        f"<b>{escape(name)}</b><span>{escape(label)}</span></label>"
        for i, (name, label) in enumerate(users)
    )
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    # A relative action without a query: the answer's parameters travel in the body only.
    return _page(
        "Share your Dexcom data",
        f"""<p>{escape(fields.get("client_id", ""))} asks to read your glucose data.</p>
<form method="post" action="login">
{hidden}
<fieldset><legend>Sandbox user</legend>
{choices}
</fieldset>
<div class="buttons">
<button type="submit" name="decision" value="approve">Approve</button>
<button type="submit" name="decision" value="deny">Deny</button>
</div>
</form>""",
    )


def error_page(text: str) -> str:
    """A page with one sentence and no way on."""
    return _page("Something is wrong with this link", f"<p>{escape(text)}</p>")


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<span class="badge">Simulated Dexcom</span>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
