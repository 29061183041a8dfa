// Package apitest holds what every implementation of [api.API] must do, told as
// stories ([Run]), and the smallest implementation that does it ([World]): maps in
// memory, no keys, no network, so that a door can be tested without a house behind
// it.
//
//	apitest.Run(t, func(t *testing.T) (a, b api.API) {
//		w := apitest.NewWorld()
//		return w.Node("ann", "laptop"), w.Node("bob", "phone")
//	})
//
// The same stories run against two real nodes, and through the socket.
package apitest
