"""Where cases lie: wherever it is, the same numbers come from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from Training.cases import Case
from Training.fitting import case_store
from Training.fitting.case_store import CaseStore, free_bytes

CPU = torch.device("cpu")
WHERE = (slice(3, 11), slice(20, 40), slice(5, 70))


def check(store: CaseStore, cases: list[Case]) -> None:
    for index, case in enumerate(cases):
        hu, labels = store.crop(index, WHERE)
        assert hu.dtype == labels.dtype == torch.float32
        assert np.array_equal(hu.numpy(), case.hu[WHERE])
        assert np.array_equal(labels.numpy(), case.labels[WHERE])


def test_crops_are_the_same_in_memory_and_on_the_device(body: Case, body_with_tumor: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [body, body_with_tumor]
    needed = sum(case.hu.nbytes + case.labels.nbytes for case in cases)
    for free, fits in ((0, False), (2 * needed, False), (2 * needed + 2, True)):
        monkeypatch.setattr(case_store, "free_bytes", lambda device, free=free: free)
        store = CaseStore(cases, CPU)
        assert store.on_device is fits
        assert [tensors is not None for tensors in store.tensors] == [fits, fits]
        check(store, cases)


@pytest.mark.filterwarnings("error")
def test_mapped_cases_are_read_where_they_lie(body: Case) -> None:
    """Their arrays cannot be written to, which PyTorch warns of."""
    mapped = replace(body, hu=body.hu.copy(), labels=body.labels.copy())
    mapped.hu.flags.writeable = mapped.labels.flags.writeable = False
    check(CaseStore([mapped], CPU), [mapped])


def test_the_cpu_has_no_memory_of_its_own() -> None:
    assert free_bytes(CPU) == 0
