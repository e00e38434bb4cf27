from structlog.testing import capture_logs

from gateway.identity.signed import ClaimReport


def test_undeclared_claims_are_reported_once_per_issuer():
    report = ClaimReport("https://idp.example")
    with capture_logs() as logs:
        report.note(("x_one", "x_two"))
        report.note(("x_one", "x_three"))
        report.note(("x_one",))
        report.note(())
    assert [entry["names"] for entry in logs] == [["x_one", "x_two"], ["x_three"]]
    assert {entry["issuer"] for entry in logs} == {"https://idp.example"}


def test_an_issuer_cannot_flood_the_log_with_names():
    report = ClaimReport("https://idp.example", limit=3)
    with capture_logs() as logs:
        for number in range(10):
            report.note((f"x_{number}",))
    assert len(logs) == 3
