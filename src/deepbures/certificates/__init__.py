"""What the convergence theorems say of a start: their hypotheses, constants and bounds; nothing here needs a run."""

from deepbures.certificates._certificate import STEP_SLACK as STEP_SLACK
from deepbures.certificates._certificate import Assumption, Certificate, Check
from deepbures.certificates._certify import VISIBLE as VISIBLE
from deepbures.certificates._certify import certificates_of as certificates_of
from deepbures.certificates._certify import certified_step_size as certified_step_size
from deepbures.certificates._certify import certify
from deepbures.certificates._words import as_plain as as_plain
from deepbures.certificates._words import in_words as in_words
from deepbures.certificates._words import kind as kind
from deepbures.certificates._words import violation as violation

__all__ = ["Assumption", "Certificate", "Check", "certify"]
