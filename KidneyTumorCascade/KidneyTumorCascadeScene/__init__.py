"""What the module does to the scene and how it talks to the worker: one subject a file, no PyTorch anywhere."""
