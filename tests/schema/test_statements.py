"""Statements to paste: names of any kind are quoted."""

import pytest

from beam_zerobus.schema.statements import grant_statement, grant_statements


@pytest.mark.parametrize(
    ("principal", "quoted"),
    [
        ("0d5e-47", "`0d5e-47`"),
        ("<client-id>", "`<client-id>`"),
        ("ann.lee@example.com", "`ann.lee@example.com`"),
        ("a`b", "`a``b`"),
    ],
)
def test_a_principal_is_one_name(principal, quoted):
    statements = [
        *grant_statements("main.iot.air", principal),
        grant_statement("MODIFY", "table", "main.iot.air", principal),
    ]
    assert [statement.split(" TO ")[1] for statement in statements] == [f"{quoted};"] * 4


def test_each_part_of_a_table_is_a_name():
    assert (
        grant_statement("MODIFY", "table", "main.my-iot.air", "x")
        == "GRANT MODIFY ON TABLE `main`.`my-iot`.`air` TO `x`;"
    )
