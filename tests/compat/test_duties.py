"""docs/guide.md lists every section of the integration guide, and what it names as proof exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guide.md"
# The guide is not ours to publish; where it lies beside the checkout, it is compared.
GUIDE = ROOT.parent / "shared" / "integration-guide.md"

HEADINGS = """
MQTT Petal Integration Guide
Overview
Table of Contents
MQTT Proxy Refactor Changes
Main Changes to MQTTProxy
1. Handler-Based Subscription Model
2. Simplified Public API
3. Organization ID Monitoring
4. Deque-Based Message Buffering
Key Architecture Changes
Message Flow
Topic Structure
Handler Registration Flow
Petal Structure for MQTT Integration
Required Components
1. Class Attribute: use_mqtt_proxy
2. Initialization
3. Startup Method
4. Async Startup (Optional)
5. MQTT Setup Method (Required)
6. Command Handlers Registry
7. Master Command Handler
8. Specific Command Handlers
Step-by-Step Implementation Guide
Step 1: Add Class Attribute
Step 2: Initialize MQTT-Related Attributes
Step 3: Store MQTT Proxy Reference in Startup
Step 4: Implement _setup_mqtt_topics()
Step 5: Define Command Handlers Registry
Step 6: Implement Master Handler
Step 7: Implement Specific Handlers
Complete Example
Migration from Old Pattern
Old Pattern (Before Refactor)
New Pattern (After Refactor)
Key Differences
Testing MQTT Commands
Sending Test Commands
Expected Response
Creating Test Handlers
Best Practices
1. Always Check Handler Initialization
2. Validate Organization ID
3. Use Proper Error Handling
4. Use Descriptive Command Names
5. Log Important Events
Troubleshooting
Issue: Handler Not Called
Issue: Organization ID Not Available
Issue: Response Not Sent
Summary
""".strip().splitlines()

# What a section lists without a heading: how many rows stand under it on the page.
ENTRIES = {
    "1. Handler-Based Subscription Model": ["Before", "After", "After"],
    "2. Simplified Public API": [
        "New: register_handler",
        "New: unregister_handler",
        "New: publish_message",
        "New: send_command_response",
        "Removed: subscribe_to_topic",
        "Removed: unsubscribe_from_topic",
        "Removed: subscribe_pattern",
    ],
    "3. Organization ID Monitoring": ["it is watched", "on demand", "base topic"],
    "4. Deque-Based Message Buffering": ["worker threads", "duplicates", "overflow"],
    "Message Flow": [
        "MQTT Broker",
        "TypeScript Client",
        "MQTTProxy Callback Server",
        "Worker Threads",
        "Petal Handler",
    ],
    "Topic Structure": ["command", "command/web", "response", "debug"],
    "Handler Registration Flow": ["1:", "2:", "3:", "4:"],
    "4. Async Startup (Optional)": ["its note"] * 3,
    "Key Differences": [
        "Organization ID",
        "Subscriptions",
        "Message Routing",
        "Event Loop",
        "Startup Logic",
    ],
    "Issue: Handler Not Called": ["1:", "2:", "3:", "4:"],
    "Issue: Organization ID Not Available": [
        "monitoring",
        "/opt/droneleaf/certs/perm/thing-parameters.json",
        "OrganizationManager",
        "wait for it",
    ],
    "Issue: Response Not Sent": ["1:", "2:", "3:", "4:"],
    "Summary": [
        "Simpler petal code",
        "Automatic organization ID monitoring",
        "Command-based routing",
        "Error resilience",
        "Scalable",
        "Testable",
    ],
}


def plain(text: str) -> str:
    """A heading without its marks."""
    return re.sub(r"[*`]", "", text).strip()


def headings_of(text: str) -> list[str]:
    """The headings of a Markdown text in order; lines of code that start with # are none."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [plain(line) for line in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)]


def table_rows() -> list[list[str]]:
    """The rows of all tables of duties, without their heads."""
    rows: list[list[str]] = []
    text = PAGE.read_text()
    for line in text[: text.index("## Rulings")].splitlines():
        if line.startswith("| ") and not line.startswith("| The guide |"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def listed() -> list[str]:
    """What the page lists as sections: its own headings, and the bold starts of rows."""
    text = PAGE.read_text()
    text = text[text.index("## MQTT Petal Integration Guide") : text.index("## Rulings")]
    return [
        plain(heading or row)
        for heading, row in re.findall(r"^#+ (.+)$|^\| \*\*(.+?)\*\*", text, re.MULTILINE)
    ]


def names_of_tests() -> set[str]:
    """Every test of the suite, and of the pages whose code the suite runs."""
    names: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
    for page in (ROOT / "docs").glob("*.md"):
        names |= set(re.findall(r"^async def (test_\w+)", page.read_text(), re.MULTILINE))
    return names


def test_every_heading_of_the_guide_is_listed() -> None:
    found = listed()
    assert found[:1] == HEADINGS[:1]
    # A chapter of one section is a heading and a row of the same name.
    assert list(dict.fromkeys(found)) == HEADINGS


def test_the_headings_are_those_of_the_guide() -> None:
    if not GUIDE.exists():
        pytest.skip("the integration guide is not beside this checkout")
    assert headings_of(GUIDE.read_text()) == HEADINGS


@pytest.mark.parametrize("section", ENTRIES)
def test_what_a_section_lists_is_listed(section: str) -> None:
    rows = [plain(row[0]) for row in table_rows()]
    start = next(place for place, row in enumerate(rows) if row.startswith(section))
    wanted = ENTRIES[section]
    for row, start_of_row in zip(rows[start + 1 :], wanted, strict=False):
        assert row.startswith(start_of_row)
    following = rows[start + 1 + len(wanted) :]
    assert len(rows[start + 1 :]) >= len(wanted)
    assert not following or not following[0].startswith(wanted[-1])


def test_every_row_says_what_shows_it() -> None:
    for row in table_rows():
        assert len(row) == 4, row
        has_rows_below = plain(row[0]) in ENTRIES
        assert re.fullmatch(r"(`test_\w+`(, )?)+", row[3]) or (has_rows_below and not row[3]), row


def test_what_shows_it_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert len(named) > 50
    assert named - names_of_tests() == set()
