package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	text string // PEM
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: []byte(name),
	}
	a := authority{t: t, key: key, cert: template}
	a.text = a.sign(template, key)
	return a
}

// sign returns a certificate as PEM.
func (a authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) string {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// server returns a certificate for a host, valid for a while from now, or until then.
func (a authority) server(key *ecdsa.PrivateKey, host string, valid time.Duration) string {
	a.t.Helper()
	return a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key)
}

// list returns a revocation list with some serial numbers as PEM.
func (a authority) list(serials ...int64) string {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func TestTLS(t *testing.T) {
	ctx := context.Background()
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := func(path, content string) testcontainers.ContainerFile {
		return testcontainers.ContainerFile{Reader: strings.NewReader(content), ContainerFilePath: path, FileMode: 0o644}
	}
	secure, err := startPostgres(ctx, "secure",
		testcontainers.WithFiles(
			file("/key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
			file("/good", ours.server(key, "secure", time.Hour)),
			file("/expired", ours.server(key, "secure", -time.Hour)),
		),
		testcontainers.WithEntrypoint("bash", "-c", `
			install --owner postgres --mode 600 /key /private.key
			exec docker-entrypoint.sh "$0" "$@" -c ssl=on -c ssl_key_file=/private.key -c ssl_cert_file=/good`),
		network.WithNetworkName([]string{"secure", "alias"}, server.network))
	testcontainers.CleanupContainer(t, secure)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if err := os.Chmod(directory, 0o755); err != nil { // the image is not root
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ours": ours.text, "other": other.text, "clean.crl": ours.list(7), "revoked.crl": ours.list(2),
	} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounted := testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
		host.Binds = append(host.Binds, directory+":/certificates:ro")
	})
	connection := func(host, mode, root string) map[string]string {
		return environment("postgres", "POSTGRES_HOST", host, "PGSSLMODE", mode, "PGSSLROOTCERT", "/certificates/"+root)
	}
	migrate(t, connection("secure", "verify-full", "ours"), mounted).want(t, 0)
	migrate(t, connection("alias", "verify-ca", "ours"), mounted).want(t, 0)
	migrate(t, connection("alias", "verify-full", "ours"), mounted).want(t, 5, "certificate is valid for secure, not alias")
	migrate(t, connection("secure", "verify-full", "other"), mounted).want(t, 5, "certificate signed by unknown authority")
	migrate(t, connection("secure", "verify-ca", "other"), mounted).want(t, 5, "certificate signed by unknown authority")
	migrate(t, connection("secure", "verify-full", "none"), mounted).want(t, 3, "unable to read CA file: open /certificates/none")
	listed := connection("secure", "verify-full", "ours")
	for list, code := range map[string]int{"clean.crl": 0, "revoked.crl": 5, "none.crl": 3} {
		listed["PGSSLCRL"] = "/certificates/" + list
		migrate(t, listed, mounted).want(t, code)
	}
	asText := environment("postgres", "POSTGRES_HOST", "secure", "PGSSLMODE", "verify-full", "POSTGRES_SSLROOTCERT_PEM", ours.text)
	migrate(t, asText).want(t, 0)
	asText["POSTGRES_SSLCRL_PEM"] = ours.list(2)
	migrate(t, asText).want(t, 5, "was revoked (sslcrl)")
	asText["POSTGRES_SSLROOTCERT_PEM"] = other.text
	migrate(t, asText).want(t, 5, "certificate signed by unknown authority")
	migrate(t, environment("postgres", "PGSSLMODE", "require")).want(t, 5, "server refused TLS connection")

	admin := connectAt(t, secure, "postgres")
	// The command line wins over ALTER SYSTEM, so the certificate is exchanged where it
	// lies.
	if code, _, err := secure.Exec(ctx, []string{"cp", "/expired", "/good"}); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	loaded := query(t, admin, "SELECT pg_conf_load_time() FROM pg_reload_conf()")[0]
	for query(t, admin, "SELECT pg_conf_load_time() > '"+loaded+"'")[0] != "t" {
		time.Sleep(50 * time.Millisecond)
	}
	migrate(t, connection("secure", "verify-full", "ours"), mounted).want(t, 5, "certificate has expired")
}
