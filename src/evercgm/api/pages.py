"""The few pages that work without script: sign-in, hand-over, and what went wrong."""

from html import escape

from fastapi.responses import HTMLResponse

# Their forms must say where they come from: "no-referrer" would make a browser send "Origin: null".
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}


def button_page(title: str, text: str, button: str, action: str) -> HTMLResponse:
    """A sentence and one button that posts to ``action``; nothing happens before the click."""
    form = (
        f'<form method="post" action="{escape(action)}">'
        f'<button class="primary" type="submit">{escape(button)}</button></form>'
    )
    return _page(200, title, text, form)


def sorry_page(status: int, title: str, text: str) -> HTMLResponse:
    """What went wrong, what to do, and the way home."""
    return _page(status, title, text, '<p><a href="/">To your readings</a></p>')


def _page(status: int, title: str, text: str, rest: str) -> HTMLResponse:
    content = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · evercgm</title>"
        '<link rel="icon" href="/assets/mark.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/assets/style.css"></head>'
        '<body><main class="sheet"><img src="/assets/mark.svg" alt="">'
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{rest}</main></body></html>\n"
    )
    return HTMLResponse(content, status, headers=_HEADERS)
