"""The checked-in schemas are those that the models give."""

from contracts import jsonschemas


def test_generating_the_schemas_changes_nothing(tmp_path):
    jsonschemas.write(tmp_path)
    generated = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*.json")}
    checked_in = {
        p.relative_to(jsonschemas.DIRECTORY): p.read_text()
        for p in jsonschemas.DIRECTORY.rglob("*.json")
    }
    assert generated == checked_in


def test_a_schema_that_is_no_longer_published_is_removed(tmp_path):
    stale = tmp_path / "old.schema.json"
    stale.write_text("{}")
    jsonschemas.write(tmp_path)
    assert not stale.exists()
