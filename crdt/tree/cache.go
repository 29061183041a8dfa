package tree

import "sync"

// cache keeps decoded nodes by hash within a bound of bytes. It is two
// generations: what is used moves into the young one, and when that holds half of
// the bound the old one is forgotten. That is close to least recently used, for
// the price of a map. Inner nodes, used by every descent, never leave.
type cache struct {
	mu         sync.Mutex
	half       int
	young, old map[Hash]*node
	size       int // of young
}

func newCache(bytes int) *cache {
	return &cache{half: bytes / 2, young: map[Hash]*node{}}
}

func (c *cache) get(h Hash) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.young[h]; n != nil {
		return n
	}
	n := c.old[h]
	if n != nil {
		delete(c.old, h)
		c.add(h, n)
	}
	return n
}

func (c *cache) put(h Hash, n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young[h] == nil {
		delete(c.old, h)
		c.add(h, n)
	}
}

func (c *cache) add(h Hash, n *node) {
	if c.size+n.cost > c.half {
		c.old, c.young, c.size = c.young, map[Hash]*node{}, 0
	}
	c.young[h] = n
	c.size += n.cost
}
