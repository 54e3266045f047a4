"""Check results as the tests read them: by name."""

from __future__ import annotations

import pytest

from agent.doctor.check_result import Verdict


class ResultsByName:
    """Check results by name. Each is one line, and each warning and failure has a cure."""

    def __init__(self, results):
        self.results = list(results)
        self._by_name = {result.name: result for result in self.results}
        assert len(self._by_name) == len(self.results), "two results have one name"
        for result in self.results:
            assert result.text and "\n" not in result.text
            assert (result.cure is not None) == (result.verdict in (Verdict.WARN, Verdict.FAIL)), "a complaint has a cure"

    def __getitem__(self, name):
        return self._by_name[name]

    def __contains__(self, name):
        return name in self._by_name

    def of(self, verdict):
        return [result.name for result in self.results if result.verdict == verdict]

    @property
    def failed(self):
        return self.of("fail")


@pytest.fixture
def results_of():
    return ResultsByName
