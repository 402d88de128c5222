"""How much of captions a base reads, answered line by line in a process that may import tokenizers.

`python -m studio.jobs.datasets.reading`: each line of its standard input is {"family", "path", "texts"}; each of its output
{"limit", "ends"}: the tokens that the base reads, and for each text where it stops, in characters (null where it reads the whole).
Or {"error"} in one line. It ends with its input.
"""

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import quiet, registry
from studio.errors import one_line
from studio.families.reading import Reader, open_reader
from studio.jobs.processes.talking import own_output
from studio.models.bases import Base


@lru_cache(maxsize=2)
def _reader(family: str, path: Path, time_ns: int) -> Reader:
    return open_reader(registry.family(family), path)


def read_texts(family: str, path: Path, texts: list[str]) -> dict[str, Any]:
    """{"limit", "ends"} of texts; a base without text reads nothing of them, which is no fault of theirs."""
    if not registry.family(family).card.text:
        return {"limit": 0, "ends": [None] * len(texts)}
    reader = _reader(family, path, path.stat().st_mtime_ns)
    return {"limit": reader.limit, "ends": [reader.end(text) for text in texts]}


def tell_long(base: Base, captions: dict[str, str]) -> dict[str, Any]:
    """{"limit", "num", "num_empty", "long": [{"file", "read", "rest"}]} of captions by file: "long" are not read to their end."""
    answer = read_texts(base.family, base.path, list(captions.values()))
    pairs = zip(captions.items(), answer["ends"], strict=True)
    long = [{"file": file, "read": text[:end], "rest": text[end:].strip()} for (file, text), end in pairs if end is not None]
    return {"limit": answer["limit"], "num": len(captions), "num_empty": sum(not c.strip() for c in captions.values()), "long": long}


def main() -> int:
    """Answer until there are no more questions."""
    quiet.silence()
    out = own_output()
    for line in sys.stdin.buffer:
        try:
            asked = json.loads(line)
            told = read_texts(str(asked["family"]), Path(asked["path"]), [str(text) for text in asked["texts"]])
        except Exception as error:  # whatever lies in a model's folder, the process goes on
            told = {"error": one_line(error)}
        out.write(json.dumps(told) + "\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
