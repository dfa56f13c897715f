"""From weights to figures: scores, detection, calibration, pictures, the model card."""
