"""Text for people, as all of Remit shows it."""

from remit.core.text import amount as amount
from remit.core.text import clean as clean
from remit.core.text import counted as counted
from remit.core.text import moment as moment
