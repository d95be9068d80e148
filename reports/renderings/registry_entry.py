"""The run as an entry of the OpenDP deployments registry, ready to be finished by its curators."""

from collections.abc import Mapping
from typing import Any

import yaml

from audit.formats.evidence import Cell, EvidenceRecord

ASSUMED = "Patients of different hospitals are different people."


def render_registry_entry(record: EvidenceRecord, release: str | None = None) -> bytes:
    """Return the entry as YAML.

    Args:
        record: The record.
        release: Id of the model that is released; None: the one with the weakest claim, since
            all of the sweep lie in the run.

    Source:
        opendp/deployments-registry-data, schemas/deployments-schema.yaml of July 2026: names of
        fields, enumerations and what each tier asks for.
    """
    private = [cell for cell in record.cells if cell.claimed_epsilon is not None]
    chosen = next((cell for cell in private if cell.cell == release), None) or max(
        private, key=lambda cell: cell.claimed_epsilon or 0.0, default=None
    )
    entry: dict[str, Any] = {
        "url_slug": f"{record.run.config}-{record.run.id[:8]}",
        "status": "Draft",
        "tier": 1 if chosen is None else 3,
        "deployment": {
            "basic": _basic(record),
            **(_privacy(record, chosen, private) if chosen else {}),
            "administrative": {
                "notes": record.verdict.headline,
                "registry_authors": [f"{record.tool['name']} {record.tool['version']}"],
            },
        },
    }
    return yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=100).encode()


def _basic(record: EvidenceRecord) -> dict[str, Any]:
    return {
        "name": f"Federated model {record.run.config}",
        "data_curators": list(record.federation.hospitals),
        "intended_use": "To be stated by the curators.",
        "data_product_type": "Machine learning model",
        "data_product_region": "To be stated by the curators.",
        "description": f"A classifier trained by federated learning over "
        f"{len(record.federation.hospitals)} hospitals on {record.federation.dataset}.",
        "publication_date": record.run.finished[:10],
        "data_product_sector": "Healthcare",
    }


def _privacy(record: EvidenceRecord, cell: Cell, private: list[Cell]) -> dict[str, Any]:
    privacy = cell.privacy or {}
    mechanism = privacy["mechanism"]
    others = "; ".join(
        f"{one.cell}: epsilon {one.claimed_epsilon:.6g} at delta {one.delta:g}" for one in private
    )
    void = (
        " The noise of this run came from a fixed key: the claim is void, this is a reproduction."
        if record.run.reproduction
        else ""
    )
    return {
        "dp_variant": {
            "variant_name": "Approximate DP",
            "data_domain": f"Records of {record.federation.dataset} at each hospital.",
            "unprotected_quantities": "Accuracy on held-out records; the audit's own results.",
        },
        "privacy_loss": {
            "privacy_unit": f"One {privacy['unit']}",
            "privacy_unit_details": f"Adjacent datasets differ by one {privacy['unit']} that is "
            f"added or removed ({privacy['adjacency']}), at one hospital. {ASSUMED}"
            f"{_several(privacy)}",
            "privacy_parameters": {"epsilon": cell.claimed_epsilon, "delta": cell.delta},
            "privacy_parameters_details": f"All models of the sweep: {others}.{void}",
        },
        "deployment_model": {
            "model_name": "Federated",
            "model_name_details": "Each hospital clips and adds noise to its own gradients; the "
            f"server sees updates through the protocol {record.federation.protocol}.",
            "actors": "\n".join(f"- {a.adversary}: sees {a.sees}" for a in record.adversaries),
            "release_type": "One release",
            "release_type_details": f"{mechanism['rounds']} rounds, accounted together.",
            "data_source_type": "Static",
            "access_type": "Non-interactive",
        },
        "accounting": {
            "post_processing": "Averaging of updates, and whatever is done with the model.",
            "composition": f"{mechanism['steps']} steps of the Poisson-subsampled Gaussian "
            f"mechanism, sampling rate {mechanism['sample_rate']:.6g}, noise multiplier "
            f"{mechanism['noise_multiplier']:.6g}; {privacy['accountant']}, recomputed by "
            f"{privacy['recomputed_by']}.",
        },
        "implementation": {
            "preprocessing_and_hyperparameter_tuning": "Scaling by public constants. "
            + (
                f"An honest choice among the settings tried would cost epsilon "
                f"{cell.selection_epsilon:.4g}."
                if cell.selection_epsilon is not None
                else "Settings were chosen elsewhere; their choice is not accounted."
            ),
            "mechanisms": "DP-SGD by Opacus. Continuous Gaussian noise in floating point; source "
            f"of randomness: {privacy['noise_source']}.",
            "justification": "See report.html and audit.json of this bundle.",
        },
    }


def _several(privacy: Mapping[str, Any]) -> str:
    """Return what the guarantee is worth to a patient with several records; empty: nobody is."""
    group = privacy.get("group")
    if not group or group["records"] == 1:
        return ""
    return (
        f" Up to {group['records']} records are one patient's (told by {group['told_by']}): of all "
        f"of them together epsilon is {group['epsilon']:.6g}."
    )
