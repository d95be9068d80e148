"""Categorical columns become one-hot columns from a public list, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest

from audit.core.errors import ConfigError, DataError
from audit.core.fields import Field, FieldKind, check_fields, of_parcel_fields, to_parcel_fields
from audit.core.loading import load_config
from audit.disclosure.background import cell_background
from audit.formats.parcels import write_parcel
from audit.pipeline.prepare import prepare
from audit.store.run import RunDirectory
from training.data.configured import data_spec
from training.data.dataset import Dataset, Scaling
from training.data.loaders import load_dataset
from training.data.sensitive import sensitive_attribute
from training.data.spec import DataSpec

WARDS = ("icu", "None", "NA")
CSV = "ward,age,sex,label\nicu,50,1,0\nNone,20,2,1\nNA,100,1,0\n"
OPTIONS = {"ranges": {"age": (0.0, 100.0)}, "categories": {"ward": WARDS, "sex": ("1", "2")}}


def load(folder: Path, text: str = CSV, **options: object) -> Dataset:
    (folder / "own.csv").write_text(text)
    fields = {**OPTIONS, **options}
    return load_dataset(DataSpec(name="csv", path=str(folder / "own.csv"), **fields), folder)  # type: ignore[arg-type]


def test_categories_become_one_hot_columns_in_their_place(tmp_path: Path) -> None:
    data = load(tmp_path)
    assert data.features == ("ward=icu", "ward=None", "ward=NA", "age", "sex=1", "sex=2")
    assert [(f.name, f.columns, f.kind.value) for f in data.fields] == [
        ("ward", (0, 1, 2), "categorical"),
        ("age", (3,), "continuous"),
        ("sex", (4, 5), "categorical"),
    ]
    np.testing.assert_allclose(
        data.inputs([0, 1, 2]),
        [[1, -1, -1, 0, 1, -1], [-1, 1, -1, -0.6, -1, 1], [-1, -1, 1, 1, 1, -1]],
        rtol=1e-6,
    )


def test_a_list_may_name_categories_that_no_record_has(tmp_path: Path) -> None:
    data = load(tmp_path, categories={"ward": (*WARDS, "surgery"), "sex": ("1", "2")})
    assert data.features is not None and "ward=surgery" in data.features
    assert not data.x[:, data.features.index("ward=surgery")].any()


def test_a_subgroup_with_categories_is_a_feature_too(tmp_path: Path) -> None:
    data = load(tmp_path, subgroups=("ward",))
    assert data.fields[0].name == "ward"
    assert data.subgroups["ward"].tolist() == list(WARDS)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CSV, {"categories": None}, "column 'ward' has 'icu' on line 2 .* categories"),
        (CSV.replace("None", "ICU"), {}, "column 'ward' has 'ICU' on line 3 .*one of its categ"),
        (CSV.replace("NA,", ","), {}, "column 'ward' has '' on line 4"),
        (CSV, {"categories": {"race": ("a", "b")}}, "categories names 'race', expected features"),
        (CSV, {"categories": {"label": ("0", "1")}}, "categories names 'label'"),
        (CSV, {"categories": {"ward": ("icu",)}}, "categories of 'ward' are 'icu': expected at"),
        (CSV, {"categories": {"ward": ("icu", "icu")}}, "expected at least 2, each once"),
        (CSV, {"categories": {"age": ("1", "2")}}, "'age' is in categories and in ranges"),
    ],
)
def test_categories_that_do_not_fit_are_refused(
    tmp_path: Path, text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, text, **options)


def test_an_npz_table_has_categories_by_number(tmp_path: Path) -> None:
    arrays = {"x": np.array([[0.5, 3], [1, 7], [0, 3]]), "y": np.array([0, 1, 0])}
    np.savez(tmp_path / "own.npz", **arrays, features=np.array(["dose", "ward"]))
    spec = DataSpec(
        name="npz",
        path=str(tmp_path / "own.npz"),
        ranges={"dose": (0.0, 1.0)},
        categories={"ward": ("3", "7")},
    )
    data = load_dataset(spec, tmp_path)
    np.testing.assert_array_equal(data.x, [[0.5, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert data.fields[1] == Field(name="ward", columns=(1, 2), kind=FieldKind.CATEGORICAL)
    np.savez(tmp_path / "own.npz", x=np.zeros((3, 8, 8), np.uint8), y=arrays["y"])
    with pytest.raises(DataError, match="categories are given, but the records are images"):
        load_dataset(spec, tmp_path)


def test_a_source_without_own_columns_takes_no_categories(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.categories of digits"):
        load_dataset(DataSpec(name="digits", categories={"a": ("0", "1")}), tmp_path)


def test_without_categories_every_column_of_a_table_is_a_number_and_images_have_no_fields() -> None:
    table = load_dataset(DataSpec(name="breast_cancer"), Path())
    assert table.features == tuple(field.name for field in table.fields)
    assert {field.kind for field in table.fields} == {FieldKind.CONTINUOUS}
    assert load_dataset(DataSpec(name="digits"), Path()).fields == ()


def test_fields_must_hold_every_column_once() -> None:
    one = Field(name="a", columns=(0,), kind=FieldKind.CONTINUOUS)
    with pytest.raises(ValueError, match=r"columns \[0\], expected each of 2"):
        check_fields((one,), 2)
    with pytest.raises(ValueError, match="has 1 columns: at least 2"):
        Field(name="a", columns=(0,), kind=FieldKind.CATEGORICAL)
    with pytest.raises(DataError, match="expected each of 2 columns once"):
        Dataset(
            name="t",
            x=np.zeros((2, 2), np.float32),
            y=np.zeros(2, np.int64),
            classes=2,
            class_names=("a", "b"),
            scale=Scaling.to_unit_range(0.0, 1.0),
            fields=(one,),
        )


def test_the_description_survives_a_parcel_in_any_order_of_columns() -> None:
    fields = (
        Field(name="ward", columns=(0, 2), kind=FieldKind.CATEGORICAL),
        Field(name="age", columns=(1,), kind=FieldKind.CONTINUOUS),
    )
    assert of_parcel_fields(to_parcel_fields(fields)) == fields
    assert of_parcel_fields(to_parcel_fields(())) == ()


def test_a_part_of_a_category_is_no_sensitive_attribute(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other columns of the category 'sex' tell it"):
        sensitive_attribute("sex=1", load(tmp_path), np.arange(3))


def test_a_configuration_lists_categories_as_text_or_integers_and_no_yes_or_no() -> None:
    config = load_config("breast_cancer", ["data.categories={sex: [1, other]}"])
    assert data_spec(config.data).categories == {"sex": ("1", "other")}
    with pytest.raises(ConfigError, match="categories"):
        load_config("breast_cancer", ["data.categories={smoker: [yes, no]}"])


def test_the_description_reaches_every_adversary(tmp_path: Path) -> None:
    config = load_config("breast_cancer", ["privacy.epsilons=[.inf]"])
    prepared = prepare(config)
    directory = RunDirectory(tmp_path).cell("eps-inf")
    directory.candidates.parent.mkdir(parents=True)
    write_parcel(directory.candidates, prepared.game.shown)
    (directory.summary).write_text('{"noise_multiplier": null}')
    background = cell_background(config, config.cells[0], directory)
    assert background.fields == prepared.dataset.fields
    assert len(background.fields) == 30
