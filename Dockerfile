# The server on a CPU:
#     docker build -t dllm-audio .
#     docker run --rm -p 127.0.0.1:8000:8000 -e DLLM_AUDIO_API_KEY=secret dllm-audio
# On an NVIDIA card (the wheels of that CUDA version are taken instead of those for CPUs):
#     docker build --build-arg CUDA=cu130 -t dllm-audio:cuda .
#     docker run --rm --gpus all -p 127.0.0.1:8000:8000 -e DLLM_AUDIO_API_KEY=secret dllm-audio:cuda
FROM python:3.11-slim

# cpu, or the name of a CUDA version as PyTorch's index of wheels has it
ARG CUDA=cpu

WORKDIR /opt/dllm-audio
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt \
    --extra-index-url "https://download.pytorch.org/whl/${CUDA}" \
    "torch==$(sed -n 's/^torch==//p' constraints.txt)+${CUDA}"

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN sed '/^torch==/d' constraints.txt > others.txt \
    && pip install --no-cache-dir -c others.txt '.[serve]' \
    && useradd --create-home server
USER server

# Models are mounted, for example -v ./my-model:/model:ro, and named: --model /model
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"]
# SIGTERM reaches the server itself, which finishes what is in work.
ENTRYPOINT ["dllm-audio", "serve", "--host", "0.0.0.0"]
