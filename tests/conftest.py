"""Set before MLX is imported by anything: float32 must mean float32."""

import os

os.environ["MLX_ENABLE_TF32"] = "0"

import hypothesis

# No deadline: the machine is shared, and nothing here asserts a time.
hypothesis.settings.register_profile("zvae", deadline=None, print_blob=True)
hypothesis.settings.load_profile("zvae")
