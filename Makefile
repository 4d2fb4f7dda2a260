# make demo    the first answer, in an environment of its own (.venv)
# make test    lint, types, tests and the code of README and docs, in another (.venv-test)
# make quick   lint, types and the tests that take no time: for the inner loop
# make docs    docs/chinchillas_death.md and its figures
# make site    the site: pages, gallery and reference, in out/site (.venv-site); warnings are errors
# make package sdist and wheel; the sdist's own tests, and the first answer of the wheel
# make bench   the benches (benches/README.md), in that of the tests
# make nightly property tests with many examples, and what takes too long for make test
# make integrations  tests of lossfit.integrations with the real libraries (.venv-integrations)
# make audit   licences and integrity of the packages in the environment, and known vulnerabilities
# make lock    the versions and hashes of today's install, for LOCK= (make test LOCK=requirements/NAME.txt)
# make mutants small faults in chosen modules: do their tests notice? (MINUTES=60; it goes on)
# make test-oldest  the tests with the oldest versions that pyproject.toml allows (.venv-oldest)
# make test-newest  the tests with the newest versions there are, pins of CUDA left out (.venv-newest)
# make clean   remove what the others made
#
# PYTHON picks the interpreter: make test PYTHON=python3.12; JOBS how many tests run at a time

PYTHON ?= python3
VENV ?= .venv
TEST_VENV ?= .venv-test
SITE_VENV ?= .venv-site
INTEGRATIONS_VENV ?= .venv-integrations
TORCH ?= torch
PYTEST_ARGS ?=
JOBS ?= auto
LOCK ?=
LOCKED ?= requirements/linux-x86_64-py3.11.txt

.PHONY: demo test quick checks kernels gpu-kernels lint types pytest docs site package bench nightly mutants integrations audit lock test-oldest test-newest clean

demo: $(VENV)/installed
	mkdir -p out
	$(VENV)/bin/lossfit extrapolate llama2 --run llama2-7B --compute-of llama2-70B --plot out/llama2_7B.png

# A worker has a core for itself: the threads of a matrix library would only be in its way.
pytest nightly kernels gpu-kernels: export OPENBLAS_NUM_THREADS = 1
pytest nightly kernels gpu-kernels: export OMP_NUM_THREADS = 1
pytest nightly kernels gpu-kernels: export MKL_NUM_THREADS = 1

# Kernels are compiled once, in processes of their own beside lint and types, before the workers of
# pytest start and would all compile them; those for GPUs are for the tests that quick leaves out.
test:
	@$(MAKE) --no-print-directory --jobs 2 gpu-kernels checks
	@$(MAKE) --no-print-directory pytest

# Tests of the GPU kernels need pinned versions: they are left to make test.
test-oldest test-newest: test-%:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	mkdir -p out
	.venv-$*/bin/uv pip compile --quiet --no-deps --python .venv-$*/bin/python pyproject.toml --output-file out/$*.txt \
	    --resolution $(if $(filter oldest,$*),lowest-direct,highest)
	# Matplotlib 3.9 uses names of which pyparsing 3.3 warns.
	[ $* = newest ] || echo "pyparsing<3.3" >> out/$*.txt
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --constraint out/$*.txt --editable '.[dev]'
	.venv-$*/bin/python -m lossfit.kernels.warmup
	OPENBLAS_NUM_THREADS=1 .venv-$*/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/gpu $(PYTEST_ARGS)

quick:
	@$(MAKE) --no-print-directory --jobs 2 checks
	@$(MAKE) --no-print-directory pytest PYTEST_ARGS='-m "not slow"'

checks: types kernels lint

kernels: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m lossfit.kernels.warmup

gpu-kernels: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m tests.gpu.compile_catalogue

lint: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .

types: $(TEST_VENV)/installed
	[ -e lossfit/kernels ] || ln -s ../kernels lossfit/kernels # an sdist holds no links
	$(TEST_VENV)/bin/mypy

# The code blocks of README and docs are run by tests/project/test_docs.py.
pytest: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

docs: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python docs/chinchillas_death.py

site: $(SITE_VENV)/installed
	rm -rf docs/api docs/gallery docs/notebooks out/site
	$(SITE_VENV)/bin/python -m sphinx -b html -W --keep-going -q docs out/site

# The wheel in an environment of its own gives the first answer; the sdist tests itself.
package: $(TEST_VENV)/installed
	rm -rf dist out/package
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check build
	$(TEST_VENV)/bin/python -m build --outdir dist
	$(PYTHON) -m venv out/package/wheel
	out/package/wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd out/package && wheel/bin/lossfit extrapolate llama2 --run llama2-7B --compute-of llama2-70B
	tar -xzf dist/*.tar.gz -C out/package
	$(MAKE) -C out/package/lossfit-* test

nightly: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m pytest -m nightly tests/properties tests/sweep tests/forecasts tests/gpu tests/kernels tests/project
	LOSSFIT_ORACLE=compare $(TEST_VENV)/bin/python -m pytest tests/kernels/test_exact.py
	$(TEST_VENV)/bin/python -m pytest --device ptx tests/gpu

# The libraries are large: they have an environment of their own.  TORCH may name a build without
# CUDA: make integrations TORCH=torch==2.13.0+cpu
integrations: $(INTEGRATIONS_VENV)/installed
	$(INTEGRATIONS_VENV)/bin/python -m pytest tests/integrations $(PYTEST_ARGS)

audit: $(TEST_VENV)/installed
	-$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(TEST_VENV)/bin/python -m benches.supply $(if $(LOCK),--locked $(LOCK))

lock: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m benches.supply --lock $(LOCKED)

MINUTES ?= 60
mutants: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check cosmic-ray
	$(TEST_VENV)/bin/python -m benches.mutation --minutes $(MINUTES)

bench: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m benches.peers

# An environment is made again when pyproject.toml changes, and used as it is otherwise: the package
# is installed editable, so changes of the code need nothing.
# uv takes a quarter of pip's time for the many packages of the tests.  Modules are compiled as they
# are imported, in that of the demo too: it imports a tenth of them.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable .
	touch $@

# With a LOCK pip takes exactly its files, each with the hash that stands there, and nothing else.
$(TEST_VENV)/installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(TEST_VENV)
ifeq ($(LOCK),)
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(TEST_VENV)/bin/uv pip install --quiet --python $(TEST_VENV)/bin/python --editable '.[dev,cuda-check]'
else
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endif
	touch $@

$(SITE_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	touch $@

$(INTEGRATIONS_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(INTEGRATIONS_VENV)
	$(INTEGRATIONS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(INTEGRATIONS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[integrations]' pytest
	touch $@

clean:
	rm -rf $(VENV) $(TEST_VENV) $(SITE_VENV) .venv-oldest .venv-newest $(INTEGRATIONS_VENV) docs/api docs/gallery docs/notebooks docs/sg_execution_times.rst build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path "./.git/*" -prune -exec rm -rf {} +
