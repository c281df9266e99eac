package main
import "context"
func measureSteps(ctx context.Context, b *bench) (string, error) { return "", nil }
func measureUpgrades(ctx context.Context, b *bench) (string, error) { return "", nil }
func measureReads(ctx context.Context, b *bench) (string, error) { return "", nil }
