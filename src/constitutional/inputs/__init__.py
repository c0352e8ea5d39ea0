"""All that a run reads before it computes anything: models, data, constitution, checked."""

from constitutional.inputs.models import Model
from constitutional.inputs.reading import load_inputs, read_rl_data
from constitutional.inputs.records import HumanData, Inputs, RLInputs

__all__ = ["HumanData", "Inputs", "Model", "RLInputs", "load_inputs", "read_rl_data"]
