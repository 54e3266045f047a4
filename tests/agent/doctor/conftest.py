"""Findings as tests read them: by name."""

from __future__ import annotations

import pytest

from agent.doctor.check_result import Verdict


class Said:
    """What was found, by name."""

    def __init__(self, findings):
        self.findings = list(findings)
        self._by_name = {finding.name: finding for finding in self.findings}
        assert len(self._by_name) == len(self.findings), "two findings have one name"
        for finding in self.findings:
            assert finding.text and "\n" not in finding.text
            assert (finding.cure is not None) == (finding.verdict in (Verdict.WARN, Verdict.FAIL)), (
                "who complains says what to do"
            )

    def __getitem__(self, name):
        return self._by_name[name]

    def __contains__(self, name):
        return name in self._by_name

    def of(self, verdict):
        return [finding.name for finding in self.findings if finding.verdict == verdict]

    @property
    def failed(self):
        return self.of("fail")


@pytest.fixture
def said():
    return Said
