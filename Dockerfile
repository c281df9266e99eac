FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV CGO_ENABLED=0

# The dependencies are downloaded and compiled in a layer of their own, so that a change of ours builds in seconds;
# only those of the binary, not the many more of the tests.
COPY go.mod go.sum ./
RUN go build -trimpath \
    github.com/golang-migrate/migrate/v4 \
    github.com/jackc/pgx/v5/pgconn \
    github.com/kelseyhightower/envconfig

# With .git, from which the binary takes its version. A source archive has none, and a worktree's leads nowhere.
COPY . .
RUN git rev-parse HEAD >/dev/null 2>&1 || export GOFLAGS=-buildvcs=false; \
    go build -trimpath -ldflags="-s -w" -o /pephub-migrate .

FROM scratch
LABEL org.opencontainers.image.title="pephub-migrate" \
      org.opencontainers.image.description="Upgrades a PEPhub database to the newest schema" \
      org.opencontainers.image.licenses="MIT"
# For sslmode=verify-full with a certificate that a public authority signed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /pephub-migrate /pephub-migrate
# Numeric, so that Kubernetes can tell that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/pephub-migrate"]
