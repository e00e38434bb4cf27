from __future__ import annotations

from typing import Any

import pytest

from gateway.upstreams.labelling.proposals import Proposal, propose_labels

READS: dict[str, Any] = {"readOnlyHint": True}
DESTROYS: dict[str, Any] = {"readOnlyHint": False, "destructiveHint": True}
CLOSED: dict[str, Any] = {"readOnlyHint": False, "openWorldHint": False}
OPEN: dict[str, Any] = {"readOnlyHint": False, "openWorldHint": True}


def listed(name: str, description: str = "", annotations: Any = None, **arguments: Any) -> Any:
    schema = {"type": "object", "properties": {key: value or {"type": "string"} for key, value in arguments.items()}}
    said = {} if annotations is None else {"annotations": annotations}
    return {"name": name, "description": description, "inputSchema": schema, **said}


def proposed(name: str, description: str = "", annotations: Any = None, **arguments: Any) -> Proposal:
    return propose_labels([listed(name, description, annotations, **arguments)])[name]


@pytest.mark.parametrize(
    ("tool", "effect"),
    [
        ("get_order", "read"),
        ("message_get_status", "read"),
        ("cancel_order", "destructive"),
        ("inviteUser", "mint"),
        ("run_script", "exec"),
        ("send_mail", "write"),
        ("frobnicate", "write"),
        ("read_and_update", "write"),
        ("get_or_delete", "destructive"),
        ("list_then_purge", "destructive"),
        ("create_issue", "write"),
        ("get_workflow_run", "read"),
    ],
)
def test_the_verbs_of_a_name_say_the_effect(tool: str, effect: str):
    assert proposed(tool).effect.value == effect


@pytest.mark.parametrize(
    ("tool", "description", "effect"),
    [
        ("hgetall", "Get all fields of a hash.", "read"),
        ("lpop", "Removes and returns the first element.", "destructive"),
        ("dbsize", "Returns the number of keys.", "read"),
        ("get_it", "Deletes everything that it returns.", "destructive"),
        ("write_it", "Execute a shell line.", "exec"),
    ],
)
def test_the_first_verb_of_a_description_counts_where_the_name_is_silent_or_milder(
    tool: str, description: str, effect: str
):
    assert proposed(tool, description).effect.value == effect


@pytest.mark.parametrize(
    "tool", ["delete_all", "deleteAll", "wipe-disk", "purge", "create_user", "run_command", "invite"]
)
def test_a_hint_makes_no_read_of_a_tool_whose_name_says_otherwise(tool: str):
    found = proposed(tool, annotations=READS)

    assert found.effect.value != "read"
    assert "readOnlyHint" in found.doubt


def test_a_hint_makes_no_read_of_a_name_in_look_alike_letters():
    assert proposed("d\u0435lete_all", annotations=READS).effect.value == "write"


def test_a_tool_that_calls_itself_a_read_is_at_most_a_read():
    found = proposed("frobnicate", annotations={**READS, "destructiveHint": False, "openWorldHint": False})

    assert (found.effect.value, found.egress.value, found.doubt) == ("read", False, "")


def test_a_hint_of_destruction_counts_unless_the_verb_overwrites():
    assert proposed("frobnicate", annotations=DESTROYS).effect.value == "destructive"
    assert proposed("add_note", annotations=DESTROYS).effect.value == "destructive"
    assert proposed("update_note", annotations=DESTROYS).effect.value == "write"


def test_a_choice_that_destroys_makes_a_hint_of_destruction_count():
    operation = {"type": "string", "enum": ["create", "delete_rule"]}

    assert proposed("rules_write", annotations=DESTROYS, operation=operation).effect.value == "destructive"


def test_a_switch_that_overwrites_replaces_content():
    assert proposed("export_csv", overwrite={"type": "boolean"}).effect.value == "write"
    assert proposed("merge_request", delete_branch={"type": "boolean"}).effect.value == "destructive"


def test_a_tool_that_saves_a_file_writes():
    assert proposed("download_images", localPath={"type": "string"}).effect.value == "write"
    assert proposed("download_images", key={"type": "string"}).effect.value == "read"


def test_several_comments_reach_people_as_one_does():
    assert proposed("create_comments", items={"type": "array"}).egress.value


def test_a_hint_that_all_tools_have_tells_none_from_another():
    names = ["add_note", "add_page", "append_row", "new_sheet", "frobnicate"]
    found = propose_labels([listed(name, annotations={**DESTROYS, "openWorldHint": True}) for name in names])

    assert [found[name].effect.value for name in names] == ["write", "write", "write", "write", "destructive"]
    assert [found[name].egress.value for name in names] == [False] * 5
    text = propose_labels([listed(name, annotations=OPEN, text=None) for name in names])
    assert [text[name].egress.value for name in names] == [False, False, False, False, True]


def test_statements_may_destroy_and_code_may_send():
    assert proposed("execute_sql", sql=None).effect.value == "destructive"
    assert proposed("run_query", "Run a query.", sql=None).effect.value == "destructive"
    assert proposed("read_query", "Execute a SELECT query on SQLite.", query=None).effect.value == "read"
    ran = proposed("start_process", "Start it.", annotations=CLOSED, command=None)
    assert (ran.effect.value, ran.egress.value) == ("exec", True)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("send_mail", ("text",)),
        ("update_owner", ("recipient",)),
        ("get_page", ("url",)),
        ("set_link", ("webhook",)),
        ("add_comment", ("text",)),
        ("create_file", ("owner", "content")),
        ("set_permissions", ("user",)),
        ("update_event", ("title",)),
        ("frobnicate", ("text",)),
    ],
)
def test_data_leaves_by_what_reaches_somebody(tool: str, arguments: tuple[str, ...]):
    given: dict[str, Any] = dict.fromkeys(arguments)

    assert propose_labels([listed(tool, **given)])[tool].egress.value


def test_a_hint_of_a_closed_world_closes_no_way_out_that_words_name():
    assert proposed("send_mail", annotations=CLOSED, text=None).egress.value
    assert proposed("store_it", annotations=CLOSED, email=None).egress.value
    assert not proposed("store_it", annotations=CLOSED, text=None).egress.value
    assert proposed("store_it", annotations=OPEN, text=None).egress.value


def test_a_schema_that_tells_no_arguments_may_take_any_text():
    tool: Any = {"name": "create_issue", "description": "Create an issue in a GitHub repository", "inputSchema": {}}

    assert propose_labels([tool])["create_issue"].egress.value


@pytest.mark.parametrize("tool", ["get_it", "find_member", "delete_message", "store_it"])
def test_no_data_leaves_where_nothing_names_a_way(tool: str):
    assert not proposed(tool, email_id=None, text=None).egress.value


def test_what_a_read_tells_is_confidential_by_its_words():
    assert proposed("get_it", "Return the password of a user.").sensitivity.value == "confidential"
    assert proposed("get_user_details").sensitivity.value == "confidential"
    assert proposed("get_it", "Return the weather.").sensitivity.value == "internal"
    assert proposed("update_password").sensitivity.value == "internal"


STRANGE: list[Any] = [
    {},
    {"name": "x", "description": None, "inputSchema": None, "annotations": []},
    {"name": "x", "inputSchema": {"properties": {"a": {"type": ["string", {}], "enum": 3, "format": ["uri"]}}}},
    {"name": "x", "inputSchema": {"properties": {"a": True, "b": {"anyOf": [3, {"type": "null"}], "items": 4}}}},
    {"name": "x", "annotations": {"readOnlyHint": "true", "destructiveHint": 1}},
]


@pytest.mark.parametrize("tool", STRANGE)
def test_a_strange_definition_gets_the_labels_of_an_unknown_tool(tool: Any):
    (found,) = propose_labels([tool]).values()

    assert (found.effect.value, found.egress.value) == ("write", True)


def test_an_umbrella_verb_does_the_worst_that_its_description_names():
    assert proposed("manage_label", "Manages labels: create, update, or delete.").effect.value == "destructive"
    assert proposed("manage_label", "Manages labels.", annotations=DESTROYS).effect.value == "destructive"
    found = proposed("manage_label", "Manages labels: list or set.", text=None)
    assert (found.effect.value, found.egress.value) == ("write", True)


def test_an_argument_of_all_tools_names_the_caller_and_no_receiver():
    names = ["create_doc", "update_doc", "move_doc", "rename_doc"]
    found = propose_labels([listed(name, user_email=None, text=None) for name in names])

    assert not any(proposal.egress.value for proposal in found.values())
    assert proposed("create_doc", user_email=None).egress.value


def test_an_argument_of_all_tools_that_is_an_address_is_still_reached():
    found = propose_labels([listed(f"get_{number}", url=None) for number in "abcde"])

    assert all(proposal.egress.value for proposal in found.values())


@pytest.mark.parametrize("tool", ["click", "fill_form", "type_text", "browser_resize"])
def test_a_tool_that_acts_on_a_page_sends_to_it(tool: str):
    assert proposed(tool, annotations=CLOSED, text=None).egress.value


def test_the_choices_of_an_argument_tell_what_an_umbrella_verb_does():
    action = {"type": "string", "enum": ["create", "delete"]}

    assert proposed("manage_label", "Manages labels.", action=action).effect.value == "destructive"
    assert proposed("manage_label", "Manages labels.", action={"enum": ["list", 3, None]}).effect.value == "write"


def test_a_switch_that_destroys_makes_a_write_destructive():
    switch = {"type": "boolean"}

    assert proposed("import_table", truncateFirst=switch).effect.value == "destructive"
    assert proposed("get_table", removeSpaces=switch).effect.value == "read"


def test_a_browser_that_goes_to_another_page_tells_its_address():
    assert proposed("browser_navigate_back", annotations=READS).egress.value
    assert not proposed("navigate_menu", annotations=READS).egress.value


@pytest.mark.parametrize(
    ("name", "required", "key"),
    [
        ("create_payment", ["amount", "idempotency_key"], ("/idempotency_key",)),
        ("create_payment", ["idempotencyKey"], ("/idempotencyKey",)),
        ("create_payment", ["amount"], ()),
        ("create_payment", "idempotency_key", ()),
        ("get_payment", ["idempotency_key"], ()),
    ],
)
def test_a_required_idempotency_key_is_the_key_of_the_effect(name: str, required: object, key: tuple[str, ...]):
    tool = listed(name, idempotency_key={}, idempotencyKey={}, amount={})
    tool["inputSchema"]["required"] = required

    assert propose_labels([tool])[name].effect_key == key


def test_an_idempotent_hint_is_no_key():
    assert proposed("create_payment", annotations={"idempotentHint": True}, idempotency_key={}).effect_key == ()
