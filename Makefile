# make test    everything that CI checks
#              (SKIP leaves out tests by their names: CI runs those of poolers on one PostgreSQL)
# make proof   that the steps keep what they must, on every PostgreSQL whose image is at hand, and what the newest one costs
# make demo    an upgrade, in front of your eyes
# make bench   what bench/RESULTS.md holds, measured again: three quarters of an hour
# make image   the container image pephub-migrate
# make lint    formatting and static checks of Go, shell and the systemd unit

POSTGRES_VERSION ?= 17
RACE             ?= -race
SKIP             ?=
GO_IMAGE         := golang:1.26-bookworm
POSTGRES_IMAGE   := postgres:$(POSTGRES_VERSION)
POOLER_IMAGES    := debian:bookworm-slim debian:trixie-slim debian:forky-slim
COMPOSE          := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export POSTGRES_VERSION COMPOSE

# Where Go or the C compiler that the race detector needs is missing, the Go image serves, with the caches kept in
# volumes, and the Docker socket and the host's network for the tests.
ifeq ($(and $(shell command -v go),$(shell command -v cc)),)
GO := docker run --rm --network host --env CI --env POSTGRES_VERSION \
	--env TESTCONTAINERS_RYUK_DISABLED --env TESTCONTAINERS_HOST_OVERRIDE \
	--volume /var/run/docker.sock:/var/run/docker.sock \
	--volume pephub-migrate-go:/go --volume pephub-migrate-cache:/root/.cache \
	--volume "$(CURDIR)":"$(CURDIR)" --workdir "$(CURDIR)" $(GO_IMAGE) go
else
GO := go
endif

.PHONY: test lint image proof demo bench images

# Never from the cache: Go does not know that the result depends on the Dockerfile and on the server.
test: lint
	eval "$$(integration/offline/prepare $(GO_IMAGE) $(POSTGRES_IMAGE) $(POOLER_IMAGES))" && \
	$(GO) test $(RACE) -count 1 -timeout 45m -skip '$(SKIP)' ./...
	$(MAKE) image
	integration/examples

lint: images
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	unformatted=$$($(GO) run cmd/gofmt -l .) && echo "$$unformatted" && test -z "$$unformatted"
	if command -v shellcheck >/dev/null; then \
		shellcheck .ci/run integration/demo integration/examples integration/offline/prepare integration/offline/postgres-entrypoint; \
	else echo "shellcheck is not installed: the scripts were not checked" >&2; test -z "$$CI"; fi
	if command -v systemd-analyze >/dev/null; then ! systemd-analyze verify --man=no examples/systemd/*.service 2>&1 | grep pephub-migrate; \
	else echo "systemd is not installed: its unit was not checked" >&2; test -z "$$CI"; fi

# The tests that a step has to pass, by the beginnings of their names.
PROOF := TestEveryStep|TestStepsSayTheirLocks|TestSchemaFile|TestForeignKeys|TestLaterSteps|TestRandom|TestUpgradeFrom|TestUpgradeOf|TestOneSchema|TestPlanDoes

proof:
	majors=$$({ echo $(POSTGRES_VERSION); docker image ls --format '{{.Tag}}' postgres | grep -x '[0-9][0-9]*'; } | sort -nu) && \
	eval "$$(integration/offline/prepare $(GO_IMAGE) $$(printf 'postgres:%s ' $$majors))" && \
	$(GO) test -count 1 . ./migrations/... ./internal/migrator ./docs && \
	for major in $$majors; do \
		POSTGRES_VERSION=$$major $(GO) test -count 1 -timeout 45m ./integration -run '$(PROOF)' || exit 1; \
	done && \
	echo "The steps are proved on PostgreSQL" $$majors && \
	$(GO) run ./bench step

image: images
	docker build --tag pephub-migrate .

demo: image
	integration/demo

bench: image
	eval "$$(integration/offline/prepare $(GO_IMAGE) $(POSTGRES_IMAGE))" && $(GO) run ./bench

images:
	integration/offline/prepare $(GO_IMAGE) $(POSTGRES_IMAGE) >/dev/null
