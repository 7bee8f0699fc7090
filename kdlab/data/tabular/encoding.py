"""How the text of a file is encoded, told from its bytes where nobody says it."""

import codecs
from pathlib import Path

import pyarrow as pa

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CHUNK = 2**24


def encoding_of(file: Path) -> str:
    """Return the encoding of a text file: by its byte order mark, else UTF-16 by its zeros, UTF-8, a Western one."""
    with pa.input_stream(str(file)) as stream:
        beginning = stream.read(4096)
    for mark, encoding in MARKS:
        if beginning.startswith(mark):
            return encoding
    if beginning.count(0) > len(beginning) // 4:
        # The high bytes of Western text are zeros; they come second where the low byte is first.
        return "utf-16-le" if beginning[1::2].count(0) > beginning[::2].count(0) else "utf-16-be"
    # Every byte is a character in Latin-1; Windows' variant has five gaps.
    return next((name for name in ("utf-8", "cp1252") if undecodable_line(file, name) is None), "latin-1")


def undecodable_line(file: Path, encoding: str) -> int | None:
    """Return the first line with bytes that are no text in an encoding, from 1; None where there is none."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with pa.input_stream(str(file)) as stream:
        while True:
            chunk = stream.read(CHUNK)
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            if not chunk:
                return None
