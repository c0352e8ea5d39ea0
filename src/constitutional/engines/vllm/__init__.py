"""The `vllm` engine: models in this process, on GPUs, by vLLM. Imports neither torch nor vllm."""
