import shutil
from pathlib import Path

import pytest

PHOTOS = Path(__file__).parents[4] / "photos"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Buckets with the sample photos, and with a file that is no image."""
    root = tmp_path_factory.mktemp("buckets")
    (root / "photos").mkdir()
    for photo in PHOTOS.glob("*.jpg"):
        shutil.copy(photo, root / "photos")
    (root / "photos" / "note.jpg").write_text("not an image")
    return root
