"""Statistics of leakage: arrays in, values with intervals out; no torch, no files, no plots.

Names are imported on first use, so that a command that needs one of them does not pay for all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from audit.stats.bootstrap import cluster_mean_interval as cluster_mean_interval
    from audit.stats.classification import (
        balanced_accuracy_interval as balanced_accuracy_interval,
    )
    from audit.stats.epsilon import EpsilonBound as EpsilonBound
    from audit.stats.epsilon import clopper_pearson_epsilon as clopper_pearson_epsilon
    from audit.stats.epsilon import (
        clopper_pearson_epsilon_interval as clopper_pearson_epsilon_interval,
    )
    from audit.stats.epsilon import gaussian_dp_epsilon as gaussian_dp_epsilon
    from audit.stats.epsilon import gaussian_dp_epsilon_interval as gaussian_dp_epsilon_interval
    from audit.stats.epsilon import one_run_epsilon as one_run_epsilon
    from audit.stats.epsilon import one_run_epsilon_interval as one_run_epsilon_interval
    from audit.stats.epsilon import one_run_fdp_epsilon as one_run_fdp_epsilon
    from audit.stats.epsilon import one_run_fdp_epsilon_interval as one_run_fdp_epsilon_interval
    from audit.stats.epsilon import one_run_p_value as one_run_p_value
    from audit.stats.families import holm as holm
    from audit.stats.gaussian import epsilon_of_mu as epsilon_of_mu
    from audit.stats.gaussian_pair import epsilon_of_gaussians as epsilon_of_gaussians
    from audit.stats.gaussian_pair import pushed_epsilon as pushed_epsilon
    from audit.stats.interval import Interval as Interval
    from audit.stats.mechanism import PrivacyCurve as PrivacyCurve
    from audit.stats.mechanism import clopper_pearson_p_value as clopper_pearson_p_value
    from audit.stats.mechanism import curve_p_value as curve_p_value
    from audit.stats.mechanism import epsilon_at as epsilon_at
    from audit.stats.mechanism import poisson_gaussian_curve as poisson_gaussian_curve
    from audit.stats.mechanism import poisson_gaussian_epsilon as poisson_gaussian_epsilon
    from audit.stats.mechanism import (
        poisson_gaussian_epsilon_interval as poisson_gaussian_epsilon_interval,
    )
    from audit.stats.mechanism import rank_reversal_p_value as rank_reversal_p_value
    from audit.stats.paired import difference_interval as difference_interval
    from audit.stats.paired import paired_difference_interval as paired_difference_interval
    from audit.stats.privacy_region import most_true_positives as most_true_positives
    from audit.stats.proportions import advantage_interval as advantage_interval
    from audit.stats.proportions import clopper_pearson_interval as clopper_pearson_interval
    from audit.stats.proportions import wilson_interval as wilson_interval
    from audit.stats.reconstruction import match as match
    from audit.stats.reconstruction import mse as mse
    from audit.stats.reconstruction import psnr as psnr
    from audit.stats.reconstruction import ssim as ssim
    from audit.stats.reconstruction_bound import reconstruction_bound as reconstruction_bound
    from audit.stats.repeats import student_interval as student_interval
    from audit.stats.roc import auc as auc
    from audit.stats.roc import auc_interval as auc_interval
    from audit.stats.roc import auc_p_value as auc_p_value
    from audit.stats.roc import resolvable as resolvable
    from audit.stats.roc import tpr_at_fpr as tpr_at_fpr
    from audit.stats.roc import tpr_at_fpr_interval as tpr_at_fpr_interval

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "bootstrap": ("cluster_mean_interval",),
    "classification": ("balanced_accuracy_interval",),
    "epsilon": (
        "EpsilonBound",
        "clopper_pearson_epsilon",
        "clopper_pearson_epsilon_interval",
        "gaussian_dp_epsilon",
        "gaussian_dp_epsilon_interval",
        "one_run_epsilon",
        "one_run_epsilon_interval",
        "one_run_fdp_epsilon",
        "one_run_fdp_epsilon_interval",
        "one_run_p_value",
    ),
    "families": ("holm",),
    "gaussian": ("epsilon_of_mu",),
    "gaussian_pair": ("epsilon_of_gaussians", "pushed_epsilon"),
    "interval": ("Interval",),
    "mechanism": (
        "PrivacyCurve",
        "clopper_pearson_p_value",
        "curve_p_value",
        "epsilon_at",
        "poisson_gaussian_curve",
        "poisson_gaussian_epsilon",
        "poisson_gaussian_epsilon_interval",
        "rank_reversal_p_value",
    ),
    "paired": ("difference_interval", "paired_difference_interval"),
    "privacy_region": ("most_true_positives",),
    "proportions": ("advantage_interval", "clopper_pearson_interval", "wilson_interval"),
    "reconstruction": ("match", "mse", "psnr", "ssim"),
    "reconstruction_bound": ("reconstruction_bound",),
    "repeats": ("student_interval",),
    "roc": (
        "auc",
        "auc_interval",
        "auc_p_value",
        "resolvable",
        "tpr_at_fpr",
        "tpr_at_fpr_interval",
    ),
}
_HOME: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
