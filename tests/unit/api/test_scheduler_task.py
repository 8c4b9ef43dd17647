import pytest

from etlkit.api.scheduler_task import SchedulerTask
from etlkit.errors import ConfigError


@pytest.mark.parametrize(
    ("index", "count", "key", "said"),
    [(3, 3, "k", "from 0 to 2"), (-1, 3, "k", "from 0 to 2"), (0, 0, "k", "0"), (0, 1, " ", "key")],
)
def test_a_task_that_cannot_be(index, count, key, said):
    """Also from Python, before any I/O."""
    with pytest.raises(ConfigError, match=said):
        SchedulerTask(index, count, key)
