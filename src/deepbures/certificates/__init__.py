"""What the convergence theorems say of a start: their hypotheses, constants and bounds; nothing here needs a run."""

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._certificate import Certificate
from deepbures.certificates._certified_step import VISIBLE_CONTRACTION as VISIBLE_CONTRACTION
from deepbures.certificates._certified_step import NoCertifiedStepError as NoCertifiedStepError
from deepbures.certificates._certified_step import certificate_of_largest_step as certificate_of_largest_step
from deepbures.certificates._certified_step import certified_step_size as certified_step_size
from deepbures.certificates._certify import certificates_of as certificates_of
from deepbures.certificates._certify import certify
from deepbures.certificates._check import Check
from deepbures.certificates._check import lost_at as lost_at
from deepbures.certificates._proof import Proof
from deepbures.certificates._proof import prove as prove
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem, RescaledTheorem
from deepbures.certificates._theorems_of import predictions_of, theorems_of
from deepbures.certificates._words import as_plain as as_plain
from deepbures.certificates._words import in_words as in_words
from deepbures.certificates._words import violation as violation

__all__ = [
    "AbstractTheorem",
    "Assumption",
    "Certificate",
    "Check",
    "Proof",
    "RescaledTheorem",
    "Start",
    "certify",
    "predictions_of",
    "theorems_of",
]
