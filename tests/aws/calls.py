"""Reads from each program which AWS operations it calls.

The linker drops every function that a program can't reach, so the symbols of an unoptimized binary are the functions that it may
call. The sources say which table or queue each of those touches, and how. Together: the permissions that the program needs.
"""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The AWS operations of the functions in crates/store/src/{dynamo,batch}.rs.
STORE_OPERATIONS = {
    "dynamo::get": {"GetItem"},
    "dynamo::put": {"PutItem"},
    "dynamo::put_together": {"PutItem"},
    "dynamo::update": {"UpdateItem"},
    "dynamo::delete": {"DeleteItem"},
    "dynamo::query": {"Query"},
    "dynamo::query_all": {"Query"},
    "dynamo::query_keys": {"Query"},
    "dynamo::scan": {"Scan"},
    "query": {"Query"},
    "query_all": {"Query"},
    "batch::get": {"BatchGetItem"},
    "batch::put": {"BatchWriteItem"},
}
# The IAM actions of a transaction's parts. A transaction has no action of its own.
TRANSACTION_PARTS = {"put": "putItem", "delete": "deleteItem", "change": "updateItem", "check": "conditionCheckItem"}
TRANSACTION_BUILDERS = {"Put": "putItem", "Delete": "deleteItem", "UpdateWrite": "updateItem", "ConditionCheck": "conditionCheckItem"}
# What the functions of crates/queue/src do to the queue that they are given, or that they name themselves.
QUEUE_FUNCTIONS = {
    "inbound::send": ("inbound", "SendMessage"),
    "inbound::send_all": ("inbound", "SendMessage"),
    "inbound::retry_in": ("inbound", "ChangeMessageVisibility"),
    "inbound::park": ("inbound-dead", "SendMessage"),
    "work::send": ("work", "SendMessage"),
    "work::retry_in": ("work", "ChangeMessageVisibility"),
    "relay::send": ("relay", "SendMessage"),
    "relay::wake": ("relay", "SendMessage"),
}
RECEIVING = {"receive": "ReceiveMessage", "receive_for": "ReceiveMessage", "delete": "DeleteMessage", "retry_in": "ChangeMessageVisibility"}


@cache
def symbols(binary: Path) -> str:
    return subprocess.run(["nm", "-C", str(binary)], check=True, capture_output=True, text=True).stdout


def functions_of(binary: Path, crate: str) -> set[str]:
    """Names like `config::user::get` of the functions of `crate` that are linked into `binary`."""
    return set(re.findall(rf"\b{crate}::((?:\w+::)*\w+)", symbols(binary)))


def sdk_operations(binary: Path, service: str) -> set[str]:
    """Operations of an SDK client that are linked in."""
    return set(re.findall(rf"aws_sdk_{service}::operation::\w+::(\w+)::orchestrate", symbols(binary)))


def bodies(crate_source: Path) -> dict[str, str]:
    """The source text of every function of a crate, by module and name. Methods count as their module's."""
    found = {}
    for file in sorted(crate_source.rglob("*.rs")):
        parts = list(file.relative_to(crate_source).with_suffix("").parts)
        if "tests" in parts:
            continue
        if parts[-1] in ("lib", "mod"):
            parts.pop()
        text = re.split(r"^#\[cfg\(test\)\]", file.read_text(), flags=re.M)[0]
        for match in re.finditer(r"^([ ]*)(?:pub(?:\([a-z]+\))? )?(?:const )?(?:async )?fn (\w+)", text, flags=re.M):
            end = text.find(f"\n{match[1]}}}\n", match.start())
            name = "::".join([*parts, match[2]])
            found[name] = found.get(name, "") + text[match.start() : end]
    return found


def called(body: str, names) -> set[str]:
    return {name for name in names if re.search(rf"(?<![\w:.]){re.escape(name)}(?:::<\w+>)?\(", body)}


@cache
def store_needs() -> dict[str, set[tuple[str, str]]]:
    """Pairs of table and operation, by function of crates/store. Parts of transactions are operations in lower case."""
    needs = {}
    for name, body in bodies(ROOT / "crates/store/src").items():
        if name.split("::")[0] in ("client", "dynamo", "batch", "tables"):
            continue
        operations = set().union(*(STORE_OPERATIONS[it] for it in called(body, STORE_OPERATIONS)))
        operations |= {part for builder, part in TRANSACTION_BUILDERS.items() if re.search(rf"\b{builder}::builder\(\)", body)}
        tables = set(re.findall(r"\btables\s*\.(config|state|leases)\b", body))
        if "index: Some(" in body:
            tables = {f"{table}/index" for table in tables}
        if not name.startswith("config::transaction::"):
            assert bool(operations) == bool(tables), f"{name} names {tables or 'no table'} and calls {operations or 'nothing'}"
        needs[name] = {(table, operation) for table in tables for operation in operations}
    return needs


@cache
def functions_with_transactions() -> set[str]:
    """Functions of crates/store that begin a transaction on table `config`."""
    return {name for name, body in bodies(ROOT / "crates/store/src").items() if re.search(r"\bTransaction::new\(", body)}


def dynamodb_needs(binary: Path) -> set[tuple[str, str]]:
    """Pairs of table and IAM action that `binary` needs."""
    reached = functions_of(binary, "tieline_store")
    pairs = {pair for name, pairs in store_needs().items() if name in reached for pair in pairs}
    if "config::transaction::Transaction" in reached:
        methods = re.findall(r"transaction::Transaction<[^\n]*?>::(\w+)", symbols(binary))
        pairs |= {("config", TRANSACTION_PARTS[method]) for method in methods if method in TRANSACTION_PARTS}
    linked = sdk_operations(binary, "dynamodb")
    # The symbols and the sources must agree.
    whole = {operation for _, operation in pairs if operation[0].isupper()}
    in_transactions = any(operation[0].islower() for _, operation in pairs)
    assert whole == linked - {"TransactWriteItems"}, (binary.name, whole, linked)
    assert in_transactions == ("TransactWriteItems" in linked), (binary.name, pairs, linked)
    return {(table, f"dynamodb:{operation[0].upper()}{operation[1:]}") for table, operation in pairs}


@cache
def check_queue_functions() -> None:
    """Fails if a public function of crates/queue changes a queue and isn't among those whose permissions are known."""
    for name, body in bodies(ROOT / "crates/queue/src").items():
        module = name.split("::")[0]
        writes = re.search(r"\b(?:batch::send|send_message|change_message_visibility)\w*\(", body)
        if module not in ("batch", "receive") and writes and re.search(r"pub (?:async )?fn", body):
            assert name in QUEUE_FUNCTIONS, f"{name} writes to a queue: which one?"


def sqs_needs(binary: Path) -> set[tuple[str, str]]:
    """Pairs of queue and IAM action that `binary` needs."""
    check_queue_functions()
    reached = functions_of(binary, "tieline_queue")
    pairs = {QUEUE_FUNCTIONS[name] for name in QUEUE_FUNCTIONS if name in reached}
    pairs |= receiving(binary, reached)
    if "depth::depths" in reached:
        pairs |= {(queue, "GetQueueAttributes") for queue in ("inbound", "work", "relay")}
    # One permission covers a call and its batch variant.
    linked = {operation.removesuffix("Batch") for operation in sdk_operations(binary, "sqs")}
    assert {operation for _, operation in pairs} == linked, (binary.name, pairs, linked)
    return {(queue, f"sqs:{operation}") for queue, operation in pairs}


def receiving(binary: Path, reached: set[str]) -> set[tuple[str, str]]:
    """What is done to the queues that the bridge's pollers receive from."""
    if not {"receive::receive", "receive::receive_for"} & reached:
        return set()
    linked = functions_of(binary, "tieline_bridge")
    pairs = set()
    source = bodies(ROOT / "crates/bridge/src")
    for name, body in source.items():
        queues = set(re.findall(r"\burls\(\)\s*\.(inbound|work|relay)\b", body))
        if not queues or name not in linked:
            continue
        module = name.rpartition("::")[0]
        beside = "".join(text for other, text in source.items() if other.rpartition("::")[0] == module and other in linked)
        for function, operation in RECEIVING.items():
            if re.search(rf"(?<![\w.]){function}(?:::<\w+>)?\(&", beside) and f"receive::{function}" in reached:
                pairs |= {(queue, operation) for queue in queues}
    return pairs


def kms_needs(binary: Path) -> set[str]:
    return {f"kms:{operation}" for operation in sdk_operations(binary, "kms")}


if __name__ == "__main__":
    for program in ("webhook", "dispatcher", "runner", "admin", "relay"):
        path = ROOT / "target/debug" / program
        if path.exists():
            print(program)
            for pair in sorted(dynamodb_needs(path) | sqs_needs(path)):
                print("  ", *pair)
            print("  ", *sorted(kms_needs(path)))
