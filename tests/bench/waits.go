// SPDX-License-Identifier: Apache-2.0

// waits.go DIRECTORY - `waits mutex` in Go, with its own account and, in the directory, Go's block and
// mutex profiles of the same: "truth SITE WAITED MADE-WAIT", ns.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

const threads = 4

var (
	mutex            sync.Mutex
	stop             atomic.Bool
	start            = time.Now()
	since            [threads]atomic.Int64
	waited, madeWait [2]atomic.Int64
	released         int64
)

func now() int64 { return int64(time.Since(start)) + 1 }

func lock(i, site int) {
	t := now()
	since[i].Store(t)
	mutex.Lock()
	waited[site].Add(now() - t)
	since[i].Store(0)
}

func unlock(i, site int) {
	t := now()
	for k := range since {
		if s := since[k].Load(); s != 0 && k != i && s < t {
			madeWait[site].Add(t - max(s, released))
		}
	}
	released = t
	mutex.Unlock()
}

//go:noinline
func site_long(i int) {
	lock(i, 0)
	time.Sleep(2 * time.Millisecond)
	unlock(i, 0)
}

//go:noinline
func site_short(i int) {
	lock(i, 1)
	time.Sleep(500 * time.Microsecond)
	unlock(i, 1)
}

func main() {
	var all sync.WaitGroup

	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	for i := range threads {
		all.Add(1)
		go func() {
			defer all.Done()
			for !stop.Load() {
				if i%2 == 1 {
					site_short(i)
				} else {
					site_long(i)
				}
				time.Sleep(time.Duration(750+rand.Intn(1500)) * time.Microsecond)
			}
		}()
	}
	time.Sleep(2 * time.Second)
	stop.Store(true)
	all.Wait()
	for _, kind := range []string{"block", "mutex"} {
		f, err := os.Create(os.Args[1] + "/" + kind)
		if err != nil {
			panic(err)
		}
		pprof.Lookup(kind).WriteTo(f, 0)
		f.Close()
	}
	for i, name := range []string{"site_long", "site_short"} {
		fmt.Println("truth", name, waited[i].Load(), madeWait[i].Load())
	}
}
