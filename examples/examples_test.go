// Package examples holds what an operator may copy. The tests see that Kubernetes would
// take it, and that the documentation shows nothing else.
package examples

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// final returns the exit codes that no retry cures, as the README's table has them.
func final(t *testing.T) []int32 {
	t.Helper()
	var codes []int32
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \|.*\| no \|$`).FindAllStringSubmatch(readFile(t, "../README.md"), -1) {
		code, err := strconv.ParseInt(row[1], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, int32(code))
	}
	if len(codes) == 0 {
		t.Fatal("the README has no table of exit codes")
	}
	return codes
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// systemd leaves it at those exit codes too.
func TestSystemd(t *testing.T) {
	var want []string
	for _, code := range final(t) {
		want = append(want, fmt.Sprint(code))
	}
	if line := "\nRestartPreventExitStatus=" + strings.Join(want, " ") + "\n"; !strings.Contains(readFile(t, "systemd/pephub-migrate.service"), line) {
		t.Errorf("the unit does not say %q", line)
	}
}

// Every object is one that the API knows, field by field, and every container of ours is
// locked down.
func TestKubernetes(t *testing.T) {
	files, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			names := map[string]bool{} // of Secrets that the file brings along
			var pods []corev1.PodSpec
			for _, document := range documents(t, file) {
				var kind struct{ APIVersion, Kind string }
				if err := yaml.Unmarshal(document, &kind); err != nil {
					t.Fatal(err)
				}
				switch kind.APIVersion + " " + kind.Kind {
				case "v1 Secret":
					var secret corev1.Secret
					decode(t, document, &secret)
					names[secret.Name] = true
				case "apps/v1 Deployment":
					var deployment appsv1.Deployment
					decode(t, document, &deployment)
					for key, value := range deployment.Spec.Selector.MatchLabels {
						if deployment.Spec.Template.Labels[key] != value {
							t.Errorf("the selector of %s does not match its pods", deployment.Name)
						}
					}
					pods = append(pods, deployment.Spec.Template.Spec)
				case "batch/v1 Job":
					var job batchv1.Job
					decode(t, document, &job)
					checkJob(t, job)
					pods = append(pods, job.Spec.Template.Spec)
				default:
					t.Errorf("an object of kind %v", kind)
				}
			}
			ours := 0
			for _, pod := range pods {
				for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
					if strings.Contains(container.Image, "pephub-migrate") {
						ours++
						checkContainer(t, container)
					}
					for _, source := range container.EnvFrom {
						if len(names) > 0 && !names[source.SecretRef.Name] {
							t.Errorf("container %s refers to Secret %s, which is not there", container.Name, source.SecretRef.Name)
						}
					}
				}
			}
			if ours == 0 {
				t.Error("no container is ours")
			}
		})
	}
}

// documents splits a file of YAML at its --- lines.
func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	var documents [][]byte
	for reader := yamlutil.NewYAMLReader(bufio.NewReader(strings.NewReader(readFile(t, file)))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
}

// decode fails the test if there is a field that the API does not know, or one twice.
func decode(t *testing.T, document []byte, object any) {
	t.Helper()
	content, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := json.UnmarshalStrict(content, object)
	if err := errors.Join(append(faults, err)...); err != nil {
		t.Fatal(err)
	}
}

func checkJob(t *testing.T, job batchv1.Job) {
	t.Helper()
	if job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("a podFailurePolicy needs restartPolicy: Never")
	}
	codes := job.Spec.PodFailurePolicy.Rules[0].OnExitCodes
	if !slices.Equal(codes.Values, final(t)) || codes.Operator != batchv1.PodFailurePolicyOnExitCodesOpIn {
		t.Errorf("the Job fails for good on %v, want %v", codes.Values, final(t))
	}
	if *codes.ContainerName != job.Spec.Template.Spec.Containers[0].Name {
		t.Errorf("the policy is about container %s, which is not there", *codes.ContainerName)
	}
}

func checkContainer(t *testing.T, container corev1.Container) {
	t.Helper()
	security := container.SecurityContext
	if security == nil || !*security.RunAsNonRoot || !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation ||
		!slices.Equal(security.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		security.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("container %s is not locked down", container.Name)
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Memory().IsZero() {
		t.Errorf("container %s has no limit of memory", container.Name)
	}
}

// What the documentation shows is a piece of a file that the tests have seen, up to its
// indentation.
func TestDocumentsShowTheExamples(t *testing.T) {
	files, err := filepath.Glob("*/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	var examples string
	for _, file := range files {
		examples += readFile(t, file) + "\n"
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, document := range append(documents, "../README.md") {
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readFile(t, document), -1) {
			shown++
			if !strings.Contains(flat(examples), flat(block[1])) {
				t.Errorf("no example holds this block of %s:\n%s", document, block[1])
			}
		}
	}
	if shown == 0 {
		t.Fatal("no document shows an example")
	}
}

// flat takes the indentation, comments and empty lines away, and keeps the words of each
// line.
func flat(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " # ")
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}
