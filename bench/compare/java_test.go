package compare

import "testing"

func TestJava_Figures(t *testing.T) {
	first := reading{at: day, records: 1 << 20, broker: 10, client: 5, self: 1, machine: 100, kernel: map[string]float64{"9": 1}}
	last := reading{at: day.Add(10e9), records: 3 << 20, broker: 14, client: 15, self: 1.5, machine: 118.5, kernel: map[string]float64{"9": 3}}
	f, err := javaFigures(first, last, 1024) // 2 GiB in 10 s
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"mib_per_second": 204.8, "cpu_s_per_gib.broker": 2, "cpu_s_per_gib.client": 5, "kernel_cores": 0.2, "foreign_cores": 0.2} {
		if !near(f[name], want) {
			t.Errorf("%s %v, want %v", name, f[name], want)
		}
	}
	if _, err := javaFigures(first, first, 1024); err == nil {
		t.Error("a tool that produced nothing has figures")
	}
}
