"""The simulated CareLink login page, which works without script; no state."""

from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { font: 16px/1.5 system-ui, sans-serif; color: #14233b; background: #eef1f6; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; }
main { background: #fff; width: min(25rem, calc(100vw - 2rem)); box-sizing: border-box; padding: 2rem;
  border-radius: 14px; box-shadow: 0 1px 3px #0002, 0 12px 32px #0001; }
.badge { font-size: .8rem; font-weight: 600; color: #5b4300; background: #ffeebf; padding: .1rem .6rem;
  border-radius: 99px; }
h1 { font-size: 1.35rem; margin: .8rem 0 .4rem; }
label { display: block; margin-bottom: .8rem; }
input:not([type=checkbox]) { display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; }
.buttons { display: flex; gap: .7rem; }
button { flex: 1; font: inherit; font-weight: 600; padding: .7rem; border-radius: 10px; border: 1px solid #1c4f9c;
  background: #1c4f9c; color: #fff; }
button[value=deny] { background: #fff; color: #1c4f9c; }
"""


def login_page(accounts: Sequence[tuple[str, str]], fields: Mapping[str, str], error: str = "") -> str:
    """A form for name and password with a captcha to tick; `accounts` (name, label) are told as a help."""
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    names = "\n".join(f'<option value="{escape(name)}">{escape(label)}</option>' for name, label in accounts)
    warned = f'<p role="alert">{escape(error)}</p>' if error else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Sign in to CareLink</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<span class="badge">Simulated CareLink</span>
<h1>Sign in</h1>
{warned}
<form method="post" action="authorize">
{hidden}
<label>User name <input name="username" list="accounts" autocomplete="off" required></label>
<datalist id="accounts">
{names}
</datalist>
<label>Password <input name="password" type="password" autocomplete="off"></label>
<label><input type="checkbox" name="captcha" value="ticked"> I am not a robot</label>
<div class="buttons">
<button type="submit" name="decision" value="approve">Approve</button>
<button type="submit" name="decision" value="deny">Deny</button>
</div>
</form>
</main>
</body>
</html>
"""
