"""Write the style sheet of the theme to build/, where collectstatic looks for it."""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
STYLE = "body {{ font-family: {font}; margin: 0 auto; max-width: {width}; padding: {space}; }}\n"

if __name__ == "__main__":
    build = HERE / "build"
    build.mkdir(exist_ok=True)
    theme = json.loads((HERE / "theme.json").read_text())
    (build / "studio.css").write_text(STYLE.format(**theme))
