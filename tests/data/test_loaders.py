"""The built-in datasets and the user's npz and csv files, and what each refuses."""

from pathlib import Path

import numpy as np
import pytest

from audit.core.errors import ConfigError, DataError
from training.data.loaders import load_dataset
from training.data.spec import DataSpec

RANGES = {"age": (0.0, 100.0), "dose": (0.0, 5.0)}
CSV = "age,dose,label,who,where\n50,1.5,0,007,north\n20,2.5,1,7,south\n120,0,1,8,north\n"


def write_csv(tmp_path: Path, text: str = CSV) -> str:
    path = tmp_path / "own.csv"
    path.write_text(text)
    return str(path)


def load_csv(tmp_path: Path, text: str = CSV, **options: object):
    fields: dict[str, object] = {"patient": "who", "site": "where", "ranges": RANGES, **options}
    spec = DataSpec(name="csv", path=write_csv(tmp_path, text), **fields)  # type: ignore[arg-type]
    return load_dataset(spec, tmp_path)


def load_npz(tmp_path: Path, options: dict[str, object] | None = None, **arrays: object):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    spec = DataSpec(name="npz", path=str(path), **(options or {}))  # type: ignore[arg-type]
    return load_dataset(spec, tmp_path)


def test_digits_keep_raw_bytes_and_scale_to_the_public_range(tmp_path):
    data = load_dataset(DataSpec(name="digits"), tmp_path)
    assert (len(data), data.shape, data.x.dtype, data.classes) == (1797, (1, 8, 8), np.uint8, 10)
    x = data.inputs(range(100))
    np.testing.assert_allclose(x, (data.x[:100] / 16 - 0.5) / 0.5, atol=1e-6)
    assert data.public and data.holdout is None and data.patients is None


def test_breast_cancer_has_a_public_range_for_each_feature(tmp_path):
    data = load_dataset(DataSpec(name="breast_cancer"), tmp_path)
    assert (len(data), data.shape, data.classes) == (569, (30,), 2)
    assert data.features is not None and data.features[0] == "mean radius"
    assert isinstance(data.scale.high, tuple) and len(data.scale.high) == 30
    clipped = (data.x > np.array(data.scale.high)).mean()
    assert clipped < 0.001
    assert np.abs(data.inputs(slice(None))).max() <= 1


def test_csv_gives_features_labels_and_identifiers_as_text(tmp_path):
    data = load_csv(tmp_path)
    assert data.features == ("age", "dose") and data.classes == 2 and not data.public
    assert data.patients is not None and data.patients.tolist() == ["007", "7", "8"]
    assert data.sites is not None and data.sites.tolist() == ["north", "south", "north"]
    np.testing.assert_allclose(data.inputs([0, 2]), [[0, -0.4], [1, -1]], atol=1e-6)


def test_csv_text_labels_follow_the_given_order_of_names(tmp_path):
    text = "age,dx\n1,ill\n2,well\n"
    names = ("well", "ill")
    options = {"label": "dx", "patient": None, "site": None, "ranges": None}
    data = load_csv(tmp_path, text, value_range=(0, 9), class_names=names, **options)
    assert data.y.tolist() == [1, 0]
    one_two = load_csv(
        tmp_path, "age,dx\n1,2\n2,1\n", value_range=(0, 9), class_names=("1", "2"), **options
    )
    assert one_two.y.tolist() == [1, 0]


def test_relative_paths_are_looked_up_below_the_data_root(tmp_path, monkeypatch):
    write_csv(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    spec = DataSpec(name="csv", path="own.csv", patient="who", site="where", ranges=RANGES)
    assert len(load_dataset(spec, tmp_path)) == 3


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CSV, {"label": "diagnosis"}, "label column 'diagnosis' is missing, found 'age'"),
        (CSV, {"patient": "pid"}, "patient column 'pid' is missing"),
        (CSV, {"patient": None}, "range for feature 'who'"),
        (CSV, {"ranges": {"age": (0, 1)}}, "'dose'.*not free under differential privacy"),
        (CSV, {"ranges": None}, "no public range for feature 'age', 'dose'"),
        (CSV, {"ranges": {**RANGES, "bmi": (0, 1)}}, "ranges names 'bmi'"),
        (CSV, {"ranges": {**RANGES, "age": (5, 5)}}, r"range of feature 'age' is \[5, 5\]"),
        (CSV, {"classes": 1}, "classes is 1"),
        (CSV.replace(",2.5,", ",high,"), {}, "column 'dose' has 'high' on line 3 .*numbers"),
        (CSV.replace(",2.5,", ",,"), {}, "column 'dose' has nan on line 3"),
        (CSV.replace(",2.5,", ",1e99,"), {}, "column 'dose' has 1e\\+99 on line 3"),
        (CSV.replace(",1,7", ",2,7"), {"classes": 2}, "label of record 1 is 2"),
        (CSV.replace(",1,7", ",0.5,7"), {}, "label column 'label' of record 1 is 0.5"),
        (CSV.replace(",1,7", ",,7"), {}, "label column 'label' is empty on line 3"),
        (CSV.replace(",1,7", ",ill,7"), {}, "expected integers from 0, or class_names"),
        (
            CSV.replace(",1,7", ",ill,7"),
            {"class_names": ("0", "1")},
            "has 'ill' on line 3, expected one of class_names",
        ),
        (CSV.replace(",7,south", ",,south"), {}, "column 'who' is empty on line 3"),
        (CSV.replace("dose", "age", 1), {}, "'age' are empty or occur twice"),
        (CSV.replace("north\n", "north,9\n"), {}, "cannot be read as CSV|more fields"),
        (CSV.replace("north\n", "north,9\n").replace("south", "south,9"), {}, "more fields"),
        ("age,dose,label,who,where\n", {}, "no rows"),
        ("label,who,where\n1,2,3\n", {}, "no feature columns"),
        ("", {}, "is empty, expected a header"),
    ],
)
def test_csv_refusals_name_the_file_the_column_and_the_line(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load_csv(tmp_path, text, **options)
    assert "own.csv" in str(caught.value)


def test_binary_bytes_are_no_csv(tmp_path):
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(DataError, match=r"own.csv: cannot be read as CSV"):
        load_dataset(DataSpec(name="csv", path="own.csv"), tmp_path)


def test_npz_images_become_channels_first_with_patients_found_unasked(tmp_path):
    x = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    data = load_npz(tmp_path, x=x, y=np.array([[0], [1]]), patient=np.array(["a", "b"]))
    assert data.shape == (3, 4, 5)
    np.testing.assert_array_equal(data.x, x.transpose(0, 3, 1, 2))
    assert data.patients is not None and data.sites is None
    grey = load_npz(tmp_path, x=x[..., 0], y=np.array([0, 1]))
    assert grey.shape == (1, 4, 5)


def test_npz_tables_need_public_ranges(tmp_path):
    arrays = {"x": np.ones((3, 2)), "y": np.array([0, 1, 0]), "features": np.array(["age", "dose"])}
    data = load_npz(tmp_path, {"ranges": RANGES}, **arrays)
    assert data.features == ("age", "dose") and data.x.dtype == np.float32
    with pytest.raises(DataError, match="no public range for feature 'age'"):
        load_npz(tmp_path, **arrays)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": np.ones((3, 2))}, {}, "array 'y' is missing, found 'x'"),
        ({"x": np.ones((3, 4, 4)), "y": np.zeros(3, int)}, {}, "value_range is not given"),
        ({"x": np.ones((3, 4, 4, 4), np.uint8), "y": np.zeros(3, int)}, {}, "x has shape"),
        ({"x": np.array([["a"]]), "y": np.zeros(1, int)}, {}, "x has dtype <U1"),
        ({"x": np.ones((3, 4, 4), np.uint8), "y": np.array(["a"] * 3)}, {}, "y has dtype <U1"),
        ({"x": np.ones((3, 4, 4), np.uint8), "y": np.array([0.5, 0, 1])}, {}, "record 0 is 0.5"),
        ({"x": np.ones((3, 4, 4), np.uint8), "y": np.zeros((3, 2), int)}, {}, "one class a record"),
        ({"x": np.ones((3, 4, 4), np.uint8), "y": np.arange(2)}, {}, r"y has shape \(2,\)"),
        (
            {"x": np.ones((2, 4, 4), np.uint8), "y": np.arange(2)},
            {"patient": "pid"},
            "array 'pid' is missing",
        ),
        (
            {"x": np.ones((2, 4, 4), np.uint8), "y": np.array([0, None], object)},
            {},
            "array 'y' cannot be read .*pickled",
        ),
    ],
)
def test_npz_refusals_name_the_file_and_the_array(tmp_path, arrays, options, message):
    with pytest.raises(DataError, match=message) as caught:
        load_npz(tmp_path, options, **arrays)
    assert "own.npz" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 300, -30])
def test_a_truncated_npz_is_refused(tmp_path, keep):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.ones((9, 8, 8), np.uint8), y=np.zeros(9, int))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"own\.npz: .*truncated"):
        load_dataset(DataSpec(name="npz", path=str(path)), tmp_path)


def test_a_flipped_byte_in_an_npz_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.ones((9, 8, 8), np.uint8), y=np.zeros(9, int))
    damaged = bytearray(path.read_bytes())
    damaged[400] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"own\.npz: array 'x' cannot be read"):
        load_dataset(DataSpec(name="npz", path=str(path)), tmp_path)


def test_missing_files_and_names_are_told_with_what_was_looked_at(tmp_path):
    for name in ("npz", "csv"):
        with pytest.raises(DataError, match=rf"file not found, looked at .*{tmp_path.name}"):
            load_dataset(DataSpec(name=name, path="gone.file"), tmp_path)
    for name in ("npz", "csv", "medmnist"):
        with pytest.raises(DataError, match="path is None, expected a file"):
            load_dataset(DataSpec(name=name), tmp_path)
    with pytest.raises(ConfigError, match="'imagenet', expected one of digits"):
        load_dataset(DataSpec(name="imagenet"), tmp_path)


def test_subgroups_are_no_features_unless_they_have_a_range(tmp_path):
    text = "age,sex,label,who,where\n50,f,0,1,north\n20,m,1,2,south\n"
    data = load_csv(tmp_path, text, ranges={"age": (0.0, 100.0)}, subgroups=("sex",))
    assert data.features == ("age",)
    assert data.subgroups["sex"].tolist() == ["f", "m"]
    both = load_csv(tmp_path, CSV, subgroups=("age",))
    assert both.features == ("age", "dose")
    assert both.subgroups["age"].tolist() == ["50", "20", "120"]
    with pytest.raises(DataError, match="subgroups column 'race' is missing"):
        load_csv(tmp_path, subgroups=("race",))


def test_subgroups_of_an_npz_are_one_value_a_record(tmp_path):
    x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
    options = {"value_range": (0.0, 1.0), "subgroups": ("sex",)}
    data = load_npz(tmp_path, options, x=x, y=y, sex=np.array(["f", "m", "f", "m"]))
    assert data.subgroups["sex"].tolist() == ["f", "m", "f", "m"]
    with pytest.raises(DataError, match="sex"):
        load_npz(tmp_path, options, x=x, y=y, sex=np.array([[0], [1], [0], [1]]))


def test_mislabelled_digits_are_the_digits_with_labels_that_nothing_tells(tmp_path):
    digits, drawn = (
        load_dataset(DataSpec(name=n), tmp_path) for n in ("digits", "mislabelled_digits")
    )
    np.testing.assert_array_equal(drawn.x, digits.x)
    assert drawn.name == "mislabelled_digits", "never taken for the digits"
    assert abs((drawn.y == digits.y).mean() - 0.1) < 0.03
    assert np.bincount(drawn.y, minlength=10).min() > 120
    again = load_dataset(DataSpec(name="mislabelled_digits"), tmp_path)
    np.testing.assert_array_equal(again.y, drawn.y)


def test_the_coin_of_the_coin_table_draws_the_label_and_follows_from_no_other_column(tmp_path):
    table = load_dataset(DataSpec(name="coin_table"), tmp_path)
    assert table.features is not None and table.features[-1] == "coin"
    coin = table.x[:, -1]
    heads = coin > 0.5
    assert abs(table.y[heads].mean() - 0.75) < 0.08
    assert abs(table.y[~heads].mean() - 0.25) < 0.08
    others = [abs(np.corrcoef(coin, column)[0, 1]) for column in table.x[:, :-1].T]
    assert max(others) < 0.15
    assert np.abs(table.inputs(slice(None))).max() <= 1
