"""The only place where a guess meets the truth."""

from audit.scoring.above_bound import above_bounds as above_bounds
from audit.scoring.attribute import ATTRIBUTE_METRICS as ATTRIBUTE_METRICS
from audit.scoring.attribute import score_attribute as score_attribute
from audit.scoring.auditing import AUDIT_METRICS as AUDIT_METRICS
from audit.scoring.auditing import Audited as Audited
from audit.scoring.auditing import Claimed as Claimed
from audit.scoring.auditing import score_audit as score_audit
from audit.scoring.auditing import score_one_run as score_one_run
from audit.scoring.exposure import most_exposed as most_exposed
from audit.scoring.exposure import roc_points as roc_points
from audit.scoring.fields import FIELD_METRICS as FIELD_METRICS
from audit.scoring.fields import FieldRule as FieldRule
from audit.scoring.fields import FieldScores as FieldScores
from audit.scoring.fields import score_fields as score_fields
from audit.scoring.groups import GroupScores as GroupScores
from audit.scoring.groups import score_groups as score_groups
from audit.scoring.hospital_estimate import HOSPITAL_METRICS as HOSPITAL_METRICS
from audit.scoring.hospital_estimate import score_hospitals as score_hospitals
from audit.scoring.identification import IDENTIFICATION_METRICS as IDENTIFICATION_METRICS
from audit.scoring.identification import score_identification as score_identification
from audit.scoring.inversion import INVERSION_METRICS as INVERSION_METRICS
from audit.scoring.inversion import InversionScores as InversionScores
from audit.scoring.inversion import score_reconstruction as score_reconstruction
from audit.scoring.labels import LABEL_METRICS as LABEL_METRICS
from audit.scoring.labels import LabelScores as LabelScores
from audit.scoring.labels import score_labels as score_labels
from audit.scoring.membership import MEMBERSHIP_METRICS as MEMBERSHIP_METRICS
from audit.scoring.membership import score_membership as score_membership
from audit.scoring.origin import Origin as Origin
from audit.scoring.origin import unmeasured as unmeasured
from audit.scoring.probes import POOLS as POOLS
from audit.scoring.probes import Known as Known
from audit.scoring.probes import SliceValues as SliceValues
from audit.scoring.rounds import apart as apart
from audit.scoring.rounds import score_rounds as score_rounds
from audit.scoring.strongest import STRONGEST as STRONGEST
from audit.scoring.strongest import Guesses as Guesses
from audit.scoring.strongest import score_strongest as score_strongest
from audit.scoring.strongest_inversion import (
    score_strongest_inversion as score_strongest_inversion,
)
from audit.scoring.verdicts import LEVEL as LEVEL
from audit.scoring.verdicts import cell_verdict as cell_verdict
from audit.scoring.verdicts import judge as judge
