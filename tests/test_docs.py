from pathlib import Path

import pytest

from stockstream.config import Settings

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_own_words(name: str) -> None:
    description = Settings.model_fields[name].description
    rows = [
        line
        for line in (DOCS / "configuration.md").read_text().splitlines()
        if line.startswith(f"| `{name.upper()}` |")
    ]
    assert len(rows) == 1
    assert rows[0].endswith(f"| {description} |")


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for part in document.read_text().split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
