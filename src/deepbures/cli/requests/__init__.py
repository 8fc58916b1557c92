"""What each command can be asked: its options, as fields of a record that checks itself and is handed on.

A field is an option of the command line, with its help in `deepbures.cli._options`. Nothing heavy is loaded here: what
can be refused before any data are read is refused when the record is made.
"""

from deepbures.cli.requests._certify import CertifyRequest as CertifyRequest
from deepbures.cli.requests._distance import DistanceRequest as DistanceRequest
from deepbures.cli.requests._fit import FitRequest as FitRequest
from deepbures.cli.requests._fit import default_folder as default_folder
from deepbures.cli.requests._landscape import LandscapeRequest as LandscapeRequest
from deepbures.cli.requests._reproduce import ReproduceRequest as ReproduceRequest
from deepbures.cli.requests._request import Request as Request
from deepbures.cli.requests._sample import SampleRequest as SampleRequest
