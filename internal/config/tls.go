package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// secure makes a configuration use the certificates that are given as text, and do what
// libpq's parameters for TLS ask for that pgconn does not know.
func (env environment) secure(server *pgconn.Config, more settings) error {
	if !slices.Contains([]string{"", "postgres", "direct"}, server.SSLNegotiation) {
		return errors.New("sslnegotiation (PGSSLNEGOTIATION) must be postgres or direct")
	}
	lists, err := env.revocationLists(more, verifies(server))
	if err != nil {
		return err
	}
	lowest, err := tlsVersion("ssl_min_protocol_version", more)
	if err != nil {
		return err
	}
	highest, err := tlsVersion("ssl_max_protocol_version", more)
	if err != nil {
		return err
	}
	if highest != 0 && lowest > highest {
		return errors.New("ssl_min_protocol_version is above ssl_max_protocol_version")
	}
	roots, err := env.roots()
	if err != nil {
		return err
	}
	var own []tls.Certificate
	if env.CertPEM != "" {
		pair, err := tls.X509KeyPair(pemText(env.CertPEM), pemText(env.KeyPEM))
		if err != nil {
			return fmt.Errorf("POSTGRES_SSLCERT_PEM and POSTGRES_SSLKEY_PEM: %w", err)
		}
		own = append(own, pair)
	}
	if (roots != nil || lists != nil) && !verifies(server) {
		return errors.New("certificates of authorities and revocation lists (POSTGRES_SSLROOTCERT_PEM, sslcrl) " +
			"have an effect only if the server's certificate is verified: set PGSSLMODE=verify-full, or verify-ca")
	}
	for _, way := range ways(server) {
		config := way.TLSConfig
		if config == nil {
			continue
		}
		config.MinVersion, config.MaxVersion = lowest, highest
		if roots != nil && config.RootCAs != nil {
			return errors.New("POSTGRES_SSLROOTCERT_PEM is set, and so is sslrootcert (PGSSLROOTCERT, or ~/.postgresql/root.crt); leave one of them out")
		}
		if roots != nil {
			config.RootCAs = roots
		}
		if own != nil {
			config.Certificates = own
		}
		if lists != nil {
			config.VerifyConnection = func(state tls.ConnectionState) error {
				return checkRevocation(state.PeerCertificates, config.RootCAs, lists, time.Now())
			}
		}
	}
	return nil
}

// verifies reports whether every connection checks that the server's certificate was
// signed by an authority. pgconn does so itself for sslmode=verify-ca, with crypto/tls's
// own check turned off.
func verifies(server *pgconn.Config) bool {
	for _, way := range ways(server) {
		config := way.TLSConfig
		if strings.HasPrefix(way.Host, "/") {
			continue // a socket has no TLS
		}
		if config == nil || config.InsecureSkipVerify && config.VerifyPeerCertificate == nil {
			return false
		}
	}
	return true
}

// roots returns the authorities in POSTGRES_SSLROOTCERT_PEM, or nil if it is not set.
func (env environment) roots() (*x509.CertPool, error) {
	if env.RootCertPEM == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pemText(env.RootCertPEM)) {
		return nil, errors.New("POSTGRES_SSLROOTCERT_PEM holds no certificate; it takes PEM, from BEGIN CERTIFICATE to END CERTIFICATE")
	}
	return pool, nil
}

// pemText puts back the newlines of a value that was written in one line, with \n for
// each.
func pemText(value string) []byte {
	return []byte(strings.ReplaceAll(value, `\n`, "\n"))
}

// tlsVersion returns what a parameter says, or 0.
func tlsVersion(keyword string, more settings) (uint16, error) {
	switch more[keyword] {
	case "":
		return 0, nil
	case "TLSv1":
		return tls.VersionTLS10, nil
	case "TLSv1.1":
		return tls.VersionTLS11, nil
	case "TLSv1.2":
		return tls.VersionTLS12, nil
	case "TLSv1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("the parameter %s must be TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3", keyword)
}

// revocationLists returns the lists that sslcrl and sslcrldir lead to, and those in
// POSTGRES_SSLCRL_PEM, or nil if nothing asks for any. As libpq has it,
// ~/.postgresql/root.crl is used if it is there and certificates are verified.
func (env environment) revocationLists(more settings, verifies bool) ([]*x509.RevocationList, error) {
	var files []string
	standard := filepath.Join(os.Getenv("HOME"), ".postgresql", "root.crl")
	if _, err := os.Stat(standard); err == nil && verifies && more["sslcrl"] == "" && more["sslcrldir"] == "" {
		files = append(files, standard)
	}
	if more["sslcrl"] != "" {
		files = append(files, more["sslcrl"])
	}
	if folder := more["sslcrldir"]; folder != "" {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, fmt.Errorf("sslcrldir (PGSSLCRLDIR) cannot be read: %w", err)
		}
		for _, entry := range entries {
			if info, err := os.Stat(filepath.Join(folder, entry.Name())); err == nil && info.Mode().IsRegular() {
				files = append(files, filepath.Join(folder, entry.Name()))
			}
		}
	}
	text := append(pemText(env.CRLPEM), '\n')
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the certificate revocation list (sslcrl, sslcrldir) cannot be read: %w", err)
		}
		text = append(append(text, content...), '\n')
	}
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate revocation list (sslcrl, sslcrldir, POSTGRES_SSLCRL_PEM) cannot be understood: %w", err)
		}
		lists = append(lists, list)
	}
	if asked := env.CRLPEM != "" || more["sslcrl"] != "" || more["sslcrldir"] != ""; asked && len(lists) == 0 {
		return nil, errors.New("no certificate revocation list is where sslcrl, sslcrldir or POSTGRES_SSLCRL_PEM leads; each takes PEM")
	}
	return lists, nil
}

// checkRevocation returns an error unless a chain from a server's certificate to a root
// is free of certificates that were revoked. As OpenSSL has it for libpq, every
// certificate of the chain but the root needs a list of its issuer's that is in force.
func checkRevocation(peer []*x509.Certificate, roots *x509.CertPool, lists []*x509.RevocationList, now time.Time) error {
	if len(peer) == 0 {
		return errors.New("the server has shown no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range peer[1:] {
		intermediates.AddCert(certificate)
	}
	chains, err := peer[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now})
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if err = checkChain(chain, lists, now); err == nil {
			return nil
		}
	}
	return err
}

// checkChain looks each certificate of a chain up in the lists of the one that follows
// it.
func checkChain(chain []*x509.Certificate, lists []*x509.RevocationList, now time.Time) error {
	for i, certificate := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		covered := false
		for _, list := range lists {
			if !bytes.Equal(list.RawIssuer, certificate.RawIssuer) || list.CheckSignatureFrom(issuer) != nil || !inForce(list, now) {
				continue
			}
			covered = true
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
					return revoked(certificate, "was revoked")
				}
			}
		}
		if !covered {
			return revoked(certificate, "has no revocation list of its issuer that is in force")
		}
	}
	return nil
}

// inForce reports whether a list holds now. One with a critical extension may be about
// some certificates only.
func inForce(list *x509.RevocationList, now time.Time) bool {
	for _, extension := range list.Extensions {
		if extension.Critical {
			return false
		}
	}
	return !now.Before(list.ThisUpdate) && (list.NextUpdate.IsZero() || now.Before(list.NextUpdate))
}

// revoked is an error of a kind that says that another attempt finds the same
// certificate.
func revoked(certificate *x509.Certificate, what string) error {
	return &tls.CertificateVerificationError{
		UnverifiedCertificates: []*x509.Certificate{certificate},
		Err:                    fmt.Errorf("the certificate of %q %s (sslcrl)", certificate.Subject.CommonName, what),
	}
}
