"""Other renderings of a record, each held against what reads it elsewhere."""

import json

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from evidence_records import record

from reports.crosswalk import crosswalk, crosswalk_json
from reports.renderings.mlbom import render_mlbom
from reports.renderings.oscal import render_oscal
from reports.renderings.registry_entry import render_registry_entry
from reports.renderings.summary import render_latex, render_summary

# Required and allowed names of opendp/deployments-registry-data, schemas/deployments-schema.yaml.
REGISTRY = {
    "basic": {
        "name",
        "data_curators",
        "intended_use",
        "data_product_type",
        "data_product_region",
        "description",
        "publication_date",
        "data_product_sector",
    },
    "dp_variant": {"variant_name", "data_domain", "unprotected_quantities"},
    "privacy_loss": {
        "privacy_unit",
        "privacy_unit_details",
        "privacy_parameters",
        "privacy_parameters_details",
    },
    "deployment_model": {
        "model_name",
        "model_name_details",
        "actors",
        "release_type",
        "release_type_details",
        "data_source_type",
        "data_source_type_details",
        "access_type",
        "access_type_details",
    },
    "accounting": {"post_processing", "composition"},
    "implementation": {"preprocessing_and_hyperparameter_tuning", "mechanisms", "justification"},
    "administrative": {"sources", "notes", "registry_authors"},
}


def strict(bom: str):
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom)


def test_the_bill_of_materials_is_valid_and_names_every_model():
    bom = render_mlbom(record((1.0, 4.0, None))).decode()
    assert strict(bom) is None
    models = [
        c["name"] for c in json.loads(bom)["components"] if c["type"] == "machine-learning-model"
    ]
    assert models == ["test/eps-1", "test/eps-4", "test/eps-inf"]


def test_the_validator_would_refuse_a_broken_one():
    broken = json.loads(render_mlbom(record()))
    broken["components"][0]["modelCard"]["surprise"] = 1
    assert strict(json.dumps(broken)) is not None


def test_the_registry_entry_has_the_schema_s_names_only_and_the_weakest_claim():
    entry = yaml.safe_load(render_registry_entry(record((1.0, 4.0, None))))
    assert set(entry) == {"url_slug", "status", "tier", "deployment"}
    for name, part in entry["deployment"].items():
        assert set(part) <= REGISTRY[name], name
    parameters = entry["deployment"]["privacy_loss"]["privacy_parameters"]
    assert parameters == {"epsilon": 4.0, "delta": 1e-5}
    assert isinstance(entry["deployment"]["basic"]["publication_date"], str)
    chosen = yaml.safe_load(render_registry_entry(record((1.0, 4.0)), "eps-1"))
    assert chosen["deployment"]["privacy_loss"]["privacy_parameters"]["epsilon"] == 1.0


def test_an_entry_without_dp_claims_none():
    entry = yaml.safe_load(render_registry_entry(record((None,))))
    assert entry["tier"] == 1
    assert "privacy_loss" not in entry["deployment"]


@pytest.mark.parametrize(
    "render", [render_mlbom, render_oscal, render_registry_entry, render_summary]
)
def test_the_same_record_gives_the_same_bytes(render):
    assert render(record()) == render(record())


def test_the_summary_says_the_verdict_and_a_row_a_model_and_obeys_no_markup():
    text = render_summary(record((1.0, None), name="x<b>|y")).decode()
    assert "Incomplete" in text
    assert "| epsilon 1 |" in text
    assert "x\\<b\\>\\|y" in text


def test_the_latex_table_has_a_line_a_model():
    text = render_latex(record((0.5, 2.0, None))).decode()
    assert text.count(r"\\") == 4
    assert r"$\infty$ & --" in text


def test_assessment_results_observe_and_judge_no_control():
    # The names are those that NIST's model requires; compliance-trestle 5.2.0 reads the file.
    made = record(crosswalk=crosswalk_json(crosswalk({})))
    found = json.loads(render_oscal(made))["assessment-results"]
    (result,) = found["results"]
    assert {"uuid", "title", "description", "start", "reviewed-controls"} <= set(result)
    assert "findings" not in result
    ids = [one["uuid"] for one in result["observations"]]
    assert len(set(ids)) == len(ids) == 1 + len(made.cells) + len(made.crosswalk)
    for one in result["observations"]:
        assert one["methods"] == ["TEST"]
        assert one["description"]
