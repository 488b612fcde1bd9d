"""Every block of the documents is performed by a test, or checked as far as it can be read."""

import ast

import claims
import pages
import pytest
import snippets

ROOT = claims.ROOT
each_document = pytest.mark.parametrize(
    "document", claims.documents(), ids=lambda path: path.relative_to(ROOT).as_posix()
)


def place(block):
    return f"{block.page.relative_to(ROOT)}:{block.line}"


@each_document
def test_what_a_block_says_exists_and_fits(document):
    wrong = [
        f"{place(block)}: {problem}"
        for block in pages.blocks(document)
        for problem in snippets.problems(block)
    ]
    assert not wrong, "\n".join(["", *wrong])


@each_document
def test_what_is_typed_is_performed_or_said_not_to_be(document):
    unclaimed = [
        f"{place(block)}: no test performs what is typed under {block.section!r}; have"
        " tests/howto/test_howto.py perform it, and say so in tests/support/claims.py"
        for block in pages.blocks(document)
        if block.language in pages.TYPED and claims.claim(block) is None
    ]
    assert not unclaimed, "\n".join(["", *unclaimed])


def test_every_claim_is_about_something_that_is_typed():
    claimed = {(block.page.relative_to(ROOT).as_posix(), block.section) for block in claims.typed()}
    assert claims.SECTIONS.keys() <= claimed
    assert all((ROOT / page).is_file() for page in claims.WHOLE_PAGES)
    assert not {page for page, _ in claims.SECTIONS} & claims.WHOLE_PAGES.keys()


TESTS = sorted(
    {
        claim
        for claim in [*claims.WHOLE_PAGES.values(), *claims.SECTIONS.values()]
        if isinstance(claim, claims.Performed)
    },
    key=lambda claim: (claim.test, claim.by_the_page),
)


@pytest.mark.parametrize("claim", TESTS, ids=lambda claim: claim.test)
def test_a_test_that_is_named_exists(claim):
    file, _, function = claim.test.partition("::")
    defined = {
        node.name
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert any(name.startswith("test_") for name in defined), file
    assert not function or function in defined, claim.test


def test_what_is_performed_by_the_page_is_read_from_it():
    """The test names page and section; those of whole pages read all that are in a folder."""
    unread = []
    for (page, section), claim in claims.SECTIONS.items():
        if isinstance(claim, claims.Performed) and claim.by_the_page:
            text = (ROOT / claim.test.partition("::")[0]).read_text()
            if section not in text or page.rpartition("/")[2] not in text:
                unread.append(f"{claim.test} does not read {section!r} of {page}")
    assert not unread, "\n".join(unread)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```console\n$ backbone runs --no-such\n```", "No such option"),
        ("```console\n$ backbone runs | backbone rns\n```", "No such command"),
        ("```sh\nbackbone run show $(backbone runs --limit)\n```", "requires an argument"),
        ("```sh\nmake dmeo\n```", "no target dmeo"),
        ("```sh\nmake up SECRE=1\n```", "no variable SECRE"),
        ("```console\n$ devstack up --tpoic a\n```", "No such option"),
        ("```sh\npython -m sdk.biultins check\n```", "no module"),
        ("```sh\nexport BACKBONE_TASK_QUEUE=a\n```", "no settings have BACKBONE_TASK_QUEUE"),
        ("```sh\nbackbone runs 'x\n```", "unexpected EOF"),
        ("```sh\nbakcbone runs\n```", "bakcbone is neither"),
        ("```yaml\napiVersion: backbone/v1\nkind: Producer\n```", "Field required"),
        ("```yaml\napiVersion: backbone/v1\nkind: Definiton\n```", "no kind Definiton"),
        ("```yaml\ntask: {type: human, titel: x}\n```", "titel"),
        ("```yaml\nspce: {}\n```", "no document of ours has spce"),
        ("```yaml\na: [\n```", "no YAML"),
        ("```python\nimport sdk\nsdk.run_wroker()\n```", "sdk has no run_wroker"),
        ("```python\nfrom sdk import inobx\n```", "inobx"),
        ("```python\ndef f(:\n```", "no Python"),
        ("```json\n{a: 1}\n```", "no JSON"),
        ("```sql\nSELECT isolate_namespace('a')\n```", "no migration makes"),
        ("```text\n$ backbone runs\n```", "is typed, and text is not"),
        ("```\nbackbone runs\n```", "no check knows the language"),
    ],
)
def test_what_is_wrong_is_found(tmp_path, block, said):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{block}\n")
    (read,) = pages.blocks(page)
    assert (read.line, read.section) == (3, "A page")
    assert said in "\n".join(snippets.problems(read))
