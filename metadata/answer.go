package metadata

import (
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// remembered says which commands get the answer of the first time when they are repeated: those
// whose second application would be answered otherwise. The other commands do nothing the second
// time, or give out another block of ids, which does no harm.
func remembered(cmd *pb.Command) bool {
	switch cmd.Kind.(type) {
	case *pb.Command_RegisterIncarnation, *pb.Command_CreateTopic, *pb.Command_DeleteTopic,
		*pb.Command_CreatePartitions, *pb.Command_SetConfigs, *pb.Command_SetBrokerConfigs, *pb.Command_Restore, *pb.Command_RestoreSections:
		return len(cmd.RequestId) > 0
	}
	return false
}

// repeated finds the answer that the same request got before.
func (s *State) repeated(cmd *pb.Command) (Result, bool) {
	if !remembered(cmd) {
		return Result{}, false
	}
	id := string(cmd.RequestId)
	for i := len(s.answers) - 1; i >= 0; i-- {
		if s.answers[i].request == id {
			return s.again(s.answers[i]), true
		}
	}
	return Result{}, false
}

// again returns a remembered answer. A topic that was deleted since is only named by its id.
func (s *State) again(a answer) Result {
	err, _ := refusalOf(a.refusal)
	res := Result{Err: err, Repeated: true}
	if a.topic != (ident.TopicID{}) {
		res.Topic = &catalog.Topic{ID: a.topic}
		if t := s.topics[a.topic]; t != nil {
			res.Topic = t.info
		}
	}
	if a.incarnation != 0 {
		res.Registration.Incarnation = a.incarnation
		if b := s.current(a.incarnation); b != nil {
			res.Registration.Tails = b.tails
		}
	}
	return res
}

func (s *State) remember(cmd *pb.Command, res *Result) {
	if !remembered(cmd) {
		return
	}
	a := answer{request: string(cmd.RequestId), refusal: refusalNumber(res.Err), incarnation: res.Registration.Incarnation}
	if res.Topic != nil {
		a.topic = res.Topic.ID
	}
	if len(s.answers) >= answersMax {
		// Now and then append copies the rest to the front of another array.
		s.answers = s.answers[1:]
	}
	s.answers = append(s.answers, a)
}
